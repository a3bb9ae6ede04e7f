"""SpeCa on a curve: 5 + 4 c(k) before the last block, which adds 1 + c(k), 6 + 5 c(k) after it."""

from __future__ import annotations

import pytest

from protocol.receipts import Action
from tests.acceleration.support import Curve, fulls, moved

STRICT = {"threshold": 0.05, "floor": 0.0, "decay": 1.0, "min_skip": 0}


def square(k: float) -> float:
    return k * k


def test_the_public_schedule() -> None:
    """Warm-up alternates: 0, 2. On a line no draft from two anchors is off; after eight comes a full one.

    Two drafts are taken on trust, at 3 and 4; the six after them are checked. Unchecked: embed and head, 3;
    checked: the last block too, 13.
    """
    lines = moved(Curve(float, 14), "speca")
    assert fulls(lines) == [0, 2, 11]
    assert [line.reason for line in lines] == [
        "warmup",
        "schedule",
        "warmup",
        *["schedule"] * 2,
        *["calm"] * 6,
        "max_skip",
        *["schedule"] * 2,
    ]
    assert [line.flop for line in lines] == [43, 3, 43, 3, 3, *[13] * 6, 43, 3, 3]
    assert [line.output for line in lines[2:]] == [6 + 5 * k for k in range(2, 14)]


def test_the_error_by_hand_and_the_lagged_verdict() -> None:
    """Anchor 0: at 1 the draft is 5 and 6, the block makes 5 + 2 = 7: off by 1/7. Full at 2 (warm-up).

    Anchors 0, 2: at 3 the line gives 21 + 8 = 29 and 36, the block makes 29 + 10 = 39: off by 3/39. It is
    kept, and 4 is full.
    """
    lines = moved(Curve(square, 6), "speca", STRICT)
    assert fulls(lines) == [0, 2, 4]
    assert [line.reason for line in lines[:5]] == ["warmup", "risk", "warmup", "risk", "risk"]
    assert [lines[1].risk, lines[3].risk] == pytest.approx([1 / 7, 3 / 39])
    assert [line.output for line in lines[:5]] == [6, 7, 26, 39, 86]


@pytest.mark.parametrize(("threshold", "rejected"), [(0.02, True), (0.03, False)])
def test_reject_and_recompute(threshold: float, rejected: bool) -> None:
    """Full at 0, 1, 2. At 3 the series gives 8 in place of 9: 37 and 46; the block makes 47: off by 1/47.

    Thrown away: embed 1, the block 10, all blocks 40, head 2, and the true 51.
    """
    lines = moved(Curve(square, 4), "speca", {**STRICT, "threshold": threshold, "lagged": 0})
    line = lines[3]
    assert line.risk == pytest.approx(1 / 47)
    if rejected:
        assert (line.output, line.flop, line.blocks_run) == (51, 53, 5)
        assert (line.action, line.reason) == (Action.FULL, "rejected")
    else:
        assert (line.output, line.flop, line.blocks_run) == (47, 13, 1)
        assert (line.action, line.reason) == (Action.PARTIAL, "calm")


def test_the_threshold_falls_to_its_floor() -> None:
    """7 x .3^(k / 10), not under 3."""
    lines = moved(Curve(float, 10), "speca", {"min_skip": 0, "floor": 3})
    expected = [max(3.0, 7 * 0.3 ** (k / 10)) for k in range(3, 10)]
    assert [line.threshold for line in lines[3:]] == pytest.approx(expected)
    assert expected[-1] == 3.0 < expected[0]


def test_never_more_drafts_than_allowed_and_none_checked_before_time() -> None:
    lines = moved(Curve(float, 12), "speca", {"max_skip": 3, "min_skip": 3})
    assert fulls(lines) == [0, 2, 6, 10]
    assert all(line.risk is None for line in lines)


def test_a_check_runs_only_if_a_failure_could_be_answered() -> None:
    """Hard, 3 evaluations of 8, 129: 0 and 2 full and 1 checked come to 99; five drafts at 3 make 114.

    A check at 3 would want 10 + 43 + 4 x 3 more: 164. So all others go unchecked, and nothing is over.
    """
    lines = moved(Curve(square, 8), "speca", STRICT, fulls=3)
    assert fulls(lines) == [0, 2]
    assert [line.flop for line in lines] == [43, 13, 43, 3, 3, 3, 3, 3]
    assert lines[3].reason == "schedule"


def test_what_the_budget_refuses_is_drafted() -> None:
    """Two evaluations: 2 would make 43 + 3 + 43 + 5 x 3 = 104 of 86."""
    lines = moved(Curve(square, 8), "speca", {"min_skip": 9}, fulls=2)
    assert fulls(lines) == [0]
    assert [line.reason for line in lines] == [
        "warmup",
        "schedule",
        "guard_denied",
        *["schedule"] * 5,
    ]
    assert {line.output for line in lines} == {6}
