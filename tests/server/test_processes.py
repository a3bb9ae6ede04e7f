"""Listening sockets and children: taken ports, the dead that are replaced, the parent that is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from server.listening import AddressTaken, listen
from server.processes import Child, ChildFailed
from tests.server.program import until

SLEEP = ["timeit", "-n", "1", "-r", "1", "-s", "import time", "time.sleep(60)"]
"""Arguments of `python -m` for a program that does nothing for a minute."""
END = ["timeit", "-n", "1", "-r", "1", "raise SystemExit(3)"]


def test_a_taken_port_is_said() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(AddressTaken, match=f"cannot listen on 127.0.0.1:{port}"):
            listen("127.0.0.1", port)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Without TCP_NODELAY on accepted sockets each small answer took 44 ms."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_child_that_ends_is_started_again(capfd: pytest.CaptureFixture[str]) -> None:
    child = Child("sleeper", SLEEP)
    child.start()
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: child.exit_code is not None, 5, lambda: "it is dead")

    def replaced() -> bool:
        child.tend()
        return child.exit_code is None and child.pid != first

    until(replaced, 10, lambda: "a new one")
    child.stop(5)
    assert child.exit_code == -signal.SIGTERM
    assert "sleeper ended with -9; starting it again" in capfd.readouterr().err


def test_its_last_words_are_in_the_error(tmp_path: Path) -> None:
    child = Child("ender", ["timeit", "-n"], log=tmp_path / "log")
    child.start()
    until(lambda: child.exit_code is not None, 10, lambda: "it ends")
    with pytest.raises(ChildFailed, match=r"ender ended with exit code 2; the end of .*log:\n.*option -n"):
        child.require_alive()


def test_a_stubborn_child_is_killed(tmp_path: Path) -> None:
    marker = tmp_path / "deaf"
    deaf = f"import signal, pathlib; signal.signal(15, signal.SIG_IGN); pathlib.Path({str(marker)!r}).touch()"
    child = Child("deaf", ["timeit", "-n", "1", "-r", "1", "-s", f"import time; {deaf}", "time.sleep(60)"])
    child.start()
    until(marker.exists, 10, lambda: "it is deaf")
    child.stop(0.2)
    assert child.exit_code == -signal.SIGKILL


def test_a_child_goes_with_its_parent() -> None:
    program = (
        "import time\nfrom server.processes import Child\n"
        f"child = Child('sleeper', {SLEEP!r})\nchild.start()\nprint(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    until(
        lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE,
        5,
        lambda: "the child is gone",
    )
