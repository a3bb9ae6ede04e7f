"""What was found is not found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.training.calibration.notebook import Notebook, OutOfTime


def test_an_entry_is_found_once(tmp_path: Path) -> None:
    calls = []

    def find() -> list[int]:
        calls.append(1)
        return [1, 2]

    assert Notebook(tmp_path).entry("a", find) == [1, 2]
    assert Notebook(tmp_path).entry("a", find) == [1, 2]
    assert len(calls) == 1


def test_out_of_time_nothing_new_begins(tmp_path: Path) -> None:
    Notebook(tmp_path).entry("a", lambda: 1)
    late = Notebook(tmp_path, max_minutes=0)
    assert late.entry("a", lambda: 2) == 1
    with pytest.raises(OutOfTime, match="b"):
        late.entry("b", lambda: 2)
    assert not (tmp_path / "b.json").exists()


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> int:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        Notebook(tmp_path).entry("a", fail)
    assert Notebook(tmp_path).entry("a", lambda: 3) == 3
