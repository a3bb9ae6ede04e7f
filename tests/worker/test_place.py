"""Which rank a process is, from what a launcher says."""

from __future__ import annotations

import os
import signal

import pytest

from workers.cli import main
from workers.place import ALL_ALONE, Place, open_listener
from workers.zygote import _end_of


def test_a_launcher_says_it_in_the_environment() -> None:
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert Place.from_environment(told) == Place(5, 8, None, 1)
    assert Place.from_environment(told).launched
    assert Place.from_environment({}) == ALL_ALONE
    assert not ALL_ALONE.launched


def test_ranks_with_a_listener_are_a_supervisors_own() -> None:
    with open_listener() as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert not Place(0, 2, listener).launched


def test_as_many_ranks_as_were_started_or_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    assert main(["worker", "--ranks", "2"]) == 2
    assert "ranks is 2, but 4 were started" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "second", "code"), [(0, None, 0), (None, 7, 7), (3, None, 3)])
def test_all_end_with_the_first_or_with_any_that_fails(
    first: int | None, second: int | None, code: int
) -> None:
    """None: a rank that waits for ever."""
    pids = [_child(first), _child(second)]
    assert _end_of(pids) == code
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, 0)


def _child(code: int | None) -> int:
    pid = os.fork()
    if pid == 0:
        if code is None:
            signal.pause()
        os._exit(code or 0)
    return pid
