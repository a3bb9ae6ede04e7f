"""FORA on a curve: the toy's output is 6 + 5 c(k)."""

from __future__ import annotations

import pytest

from tests.acceleration.support import Curve, fulls, moved


@pytest.mark.parametrize(("interval", "count"), [(1, 50), (4, 13), (5, 10), (7, 8)])
def test_full_evaluations_of_fifty(interval: int, count: int) -> None:
    """The counts published for 50 steps."""
    assert len(fulls(moved(Curve(float, 50), "fora", {"interval": interval}))) == count


def test_the_last_output_stands_until_the_next() -> None:
    """Full at 0, 3, 6: 6, 21, 36."""
    lines = moved(Curve(float, 8), "fora", {"interval": 3})
    assert [line.output for line in lines] == [6, 6, 6, 21, 21, 21, 36, 36]
    assert [line.flop for line in lines] == [43, 0, 0, 43, 0, 0, 43, 0]


def test_what_the_budget_refuses_is_reused() -> None:
    lines = moved(Curve(float, 8), "fora", {"interval": 3}, fulls=2)
    assert [line.output for line in lines] == [6, 6, 6, 21, 21, 21, 21, 21]
    assert lines[6].reason == "guard_denied"
