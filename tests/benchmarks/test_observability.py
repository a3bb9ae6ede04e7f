"""What the watching benchmark calls an answer, and that its drills are of alerts there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.observability.coverage import Asked
from benchmarks.observability.drills import DRILLS, OBJECTIVES
from benchmarks.observability.plot import draw
from deploy.observability.alerts import alerts, alerts_file
from deploy.observability.rules import rules_file


def asked(*values: float, reason: str = "") -> Asked:
    series = {"m": [(float(at), value) for at, value in enumerate(values)]} if values else {}
    return Asked("Rheostat / Fleet", "a panel: {{model}}", "up", "s", reason, series)


@pytest.mark.parametrize(
    ("one", "answer", "accounted_for"),
    [
        (asked(0, 2), "data", True),
        (asked(0, 0), "zero", False),
        (asked(), "nothing", False),
        (asked(0, 0, reason="quiet"), "zero", True),
        (asked(reason="off"), "nothing", True),
    ],
)
def test_answers(one: Asked, answer: str, accounted_for: bool) -> None:
    assert (one.answer, one.accounted_for) == (answer, accounted_for)


def test_a_reason_is_told_only_where_one_is_needed() -> None:
    assert asked(1, reason="quiet").line()["reason"] == ""
    assert asked(0, reason="quiet").line()["reason"] == "quiet"


def test_drills_are_of_alerts_there_are_and_hold_enough_scrapes() -> None:
    known = {alert.name for alert in alerts(OBJECTIVES)}
    expected = [name for _, _, names in DRILLS for name in names]
    assert len(set(expected)) == len(expected) >= 4
    assert set(expected) <= known
    assert "[10s]" in str(rules_file(OBJECTIVES)), "the shortest window, of 5 minutes, holds ten scrapes"
    assert alerts_file(OBJECTIVES)


def test_the_page_is_drawn(tmp_path: Path) -> None:
    draw([asked(1, 2, 3), asked(reason="off"), asked(0, reason="quiet")], tmp_path / "page.png", "a page")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
