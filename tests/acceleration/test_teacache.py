"""TeaCache on a curve: the signal is 2 + c(k), four blocks add 4 (1 + c), a cheap evaluation costs 1 + 2."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from protocol.receipts import Action
from tests.acceleration.support import Curve, Moves, curve_sample, fulls, moved
from workers.acceleration.residual import ratios, read, relative_l1
from workers.core import ALONE, Row, Stream, Verdict

IDENTITY = {"teacache": {"polynomial": [1.0, 0.0]}}
"""Adds up the relative change itself."""


def test_changes_from_the_evaluation_before_add_up() -> None:
    """Signals 2, 3, 4, 5, 6, 7 change by 1/2, 1/3, 1/4, 1/5. Below .6: 1/2; 5/6 is over; 1/4; 9/20; then the
    end. Cheap: 3 + 4 at 1; 5 + 12 at 3, 6 + 12 at 4. Full: 6 + 5 k.
    """
    lines = moved(Curve(float, 6), "teacache", {"threshold": 0.6}, tables=IDENTITY)
    assert fulls(lines) == [0, 2, 5]
    assert [line.output for line in lines] == [6, 7, 16, 17, 18, 31]
    assert [line.risk for line in lines[1:5]] == pytest.approx([1 / 2, 5 / 6, 1 / 4, 9 / 20])
    assert [line.reason for line in lines] == ["warmup", "calm", "risk", "calm", "calm", "schedule"]
    assert [line.flop for line in lines] == [43, 3, 43, 3, 3, 43]
    assert lines[1].action is Action.PARTIAL


def test_the_published_polynomial_is_the_default() -> None:
    """Nothing changes, so each evaluation adds its constant .264: over .25 at once, over .3 at the second."""
    still = Curve(lambda k: 0.0, 8)
    assert fulls(moved(still, "teacache")) == list(range(8))
    assert fulls(moved(still, "teacache", {"threshold": 0.3})) == [0, 2, 4, 6, 7]
    assert moved(still, "teacache", {"threshold": 0.3})[1].risk == pytest.approx(0.264230861)


def test_horners_rule_takes_the_highest_power_first() -> None:
    """2 x^2 + 3 x + .5 at 1/2 is 2.5."""
    tables = {"teacache": {"polynomial": [2.0, 3.0, 0.5]}}
    assert moved(Curve(float, 3), "teacache", tables=tables)[1].risk == pytest.approx(2.5)


def test_a_negative_sum_is_not_below_threshold_zero() -> None:
    tables = {"teacache": {"polynomial": [-1.0]}}
    assert fulls(moved(Curve(float, 4), "teacache", {"threshold": 0}, tables=tables)) == [0, 1, 2, 3]
    assert fulls(moved(Curve(float, 4), "teacache", {"threshold": 0.1}, tables=tables)) == [0, 3]


def test_a_polynomial_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="valid number"):
        moved(Curve(float, 4), "teacache", tables={"teacache": {"polynomial": ["x"]}})


def test_what_the_budget_refuses_takes_the_residual() -> None:
    """Two full evaluations: 43 + 43 + 4 x 3 > 86, so only the first is paid; the sum goes on growing."""
    lines = moved(Curve(float, 6), "teacache", {"threshold": 0.6}, tables=IDENTITY, fulls=2)
    assert fulls(lines) == [0]
    assert [line.reason for line in lines[2:]] == ["guard_denied"] * 4
    assert [line.output for line in lines] == [6, 7, 8, 9, 10, 11]
    assert lines[4].risk == pytest.approx(1 / 2 + 1 / 3 + 1 / 4 + 1 / 5)


def test_a_plan_that_cannot_pay_the_residual_gets_the_last_output() -> None:
    """One evaluation and 2/43: not even 3 FLOP are left."""
    lines = moved(Curve(float, 4), "teacache", fulls=45 / 43)
    assert [line.output for line in lines] == [6, 6, 6, 6]
    assert [line.action for line in lines] == [Action.FULL, *[Action.FORECAST] * 3]
    assert sum(line.flop for line in lines) == 43


def test_asking_again_changes_nothing() -> None:
    """The evaluation is repeated after a failure: the same answer, and the sum is added to once."""
    network = Curve(float, 6)
    sample = curve_sample(network, "teacache", {"threshold": 0.6}, tables=IDENTITY)
    cache, calls = sample.stack.cache, []
    assert cache is not None
    ask = cache.at

    def twice(rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        calls.append(cut)
        first = ask(rows, cut, stream)
        again = ask(rows, cut, stream)
        assert (first[0].risk, type(first[0])) == (again[0].risk, type(again[0]))
        return again

    cache.at = twice  # type: ignore[method-assign]
    assert fulls(Moves(network).finish(sample)) == [0, 2, 5]
    assert calls == [0] * 6


def test_relative_l1_by_hand() -> None:
    """|3-2| + |-5+4| over 2 + 4; nothing over nothing is no change; bfloat16 is read in float32."""
    moved_by = relative_l1(torch.tensor([3.0, -5.0]), torch.tensor([2.0, -4.0]))
    nothing = relative_l1(torch.zeros(2), torch.zeros(2))
    assert moved_by.tolist() == [2.0, 6.0]
    assert ratios([moved_by, nothing], ALONE) == pytest.approx([1 / 3, 0.0])
    assert ratios([], ALONE) == []
    assert relative_l1(torch.ones(2, dtype=torch.bfloat16), torch.ones(2)).dtype == torch.float32


def test_what_is_not_finite_is_read_as_large() -> None:
    """A receipt carries finite numbers only, and such a row must not be skipped."""
    assert read(torch.tensor([float("nan"), float("inf"), 0.5])) == [
        pytest.approx(1e30),
        pytest.approx(1e30),
        0.5,
    ]
