"""First-Block Cache on a curve: a block adds 1 + c(k), so the first one's residual is 1 + c(k)."""

from __future__ import annotations

import pytest
import torch

from tests.acceleration.support import Curve, Moves, curve_sample, fulls, moved
from workers.core import Hidden, Stream


def test_compared_with_the_last_full_evaluation() -> None:
    """Residuals 1, 2, ..., 7. From 1: 1, 2 (over 1.5). From 3: 1/3, 2/3, 1, 4/3.

    Cheap outputs: the block's own 2 + k + (1 + k), and three blocks' residual, 3 (1 + 0) or 3 (1 + 2).
    """
    lines = moved(Curve(float, 7), "first-block-cache", {"threshold": 1.5})
    assert fulls(lines) == [0, 2]
    assert [line.risk for line in lines[1:]] == pytest.approx([1, 2, 1 / 3, 2 / 3, 1, 4 / 3])
    assert [line.output for line in lines] == [6, 8, 16, 18, 20, 22, 24]
    assert [line.flop for line in lines] == [43, 13, 43, 13, 13, 13, 13]
    assert [line.reason for line in lines[:4]] == ["warmup", "calm", "risk", "calm"]


def test_the_threshold_is_strict() -> None:
    """A change of exactly 1 is not below 1."""
    assert fulls(moved(Curve(float, 2), "first-block-cache", {"threshold": 1.0})) == [0, 1]


def test_last_blocks_run_on_the_residual() -> None:
    """At 1: 3 + 2 of block 0, + 2 (1 + 0) of the middle, + 2 of block 3 = 9."""
    lines = moved(Curve(float, 2), "first-block-cache", {"threshold": 1.5, "last": 1})
    assert (lines[1].output, lines[1].flop, lines[1].blocks_run) == (9, 23, 2)


def test_more_first_blocks() -> None:
    """Three: their residual is 3 (1 + k). At 1: 3 + 6, + 1 = 10."""
    network = Curve(float, 2)
    lines = moved(network, "first-block-cache", {"threshold": 1.5, "first": 3})
    assert (lines[1].output, lines[1].risk, lines[1].flop) == (10, pytest.approx(1), 33)
    assert network.calls == [0, 1, 2, 3, 0, 1, 2]


def test_warmup_comes_after_the_first() -> None:
    lines = moved(Curve(float, 5), "first-block-cache", {"threshold": 9, "warmup": 2})
    assert fulls(lines) == [0, 1, 2]
    assert {line.reason for line in lines[:3]} == {"warmup"}


@pytest.mark.parametrize("order", [1, 2])
def test_a_residual_on_a_line_is_forecast_exactly(order: int) -> None:
    """So the outputs are the uncached 6 + 5 k."""
    parameters = {"threshold": 9, "warmup": 1, "order": order}
    lines = moved(Curve(float, 6), "first-block-cache", parameters)
    assert fulls(lines) == [0, 1]
    assert [line.output for line in lines] == pytest.approx([6 + 5 * k for k in range(6)])


def test_as_many_anchors_as_the_order_needs() -> None:
    for order in range(3):
        network = Curve(float, 6)
        sample = curve_sample(network, "first-block-cache", {"threshold": 0, "order": order})
        Moves(network).finish(sample)
        assert [anchor.evaluation for anchor in sample.anchors] == list(range(6))[-order - 1 :]
        assert set(sample.anchors[-1].kept) == {4}
        assert set(sample.memory) == {"reference"}


def test_what_the_budget_refuses_takes_the_residual() -> None:
    """Three evaluations, 129 of 43 + 5 x 13 needed at least: one more full one, 138, is too much."""
    lines = moved(Curve(float, 6), "first-block-cache", {"threshold": 0}, fulls=3)
    assert fulls(lines) == [0]
    assert {line.reason for line in lines[1:]} == {"guard_denied"}
    assert sum(line.flop for line in lines) == 43 + 5 * 13


def test_a_plan_that_cannot_pay_the_first_block_gets_the_last_output() -> None:
    """86 pay for 43 and three times 13; the rest repeats: 2 + 3 + 4 at the last one paid, k = 3, + 3 = 12."""
    lines = moved(Curve(float, 6), "first-block-cache", {"threshold": 9}, fulls=2)
    assert [line.flop for line in lines] == [43, 13, 13, 13, 0, 0]
    assert [line.output for line in lines[3:]] == [12, 6, 6]


def test_first_and_last_must_leave_something_between() -> None:
    with pytest.raises(ValueError, match="first 3 \\+ last 1 leave none of 4"):
        moved(Curve(float, 2), "first-block-cache", {"first": 3, "last": 1})


def test_the_conditional_lane_decides_for_both() -> None:
    """Lane 1's blocks add nothing from evaluation 1 on, so by itself it would have moved by 1."""

    class Split(Curve):
        def block(self, index: int, stream: Stream) -> Hidden:
            (hidden,) = super().block(index, stream)
            gone = (stream.fixed[0] > 0) & (torch.arange(2) == 1).reshape(2, 1, 1)
            return (torch.where(gone, stream.hidden[0], hidden),)

    network = Split(lambda k: k / 10, 3)
    lines = Moves(network).finish(curve_sample(network, "first-block-cache", {"threshold": 0.5}, lanes=2))
    assert fulls(lines) == [0]
    assert [line.risk for line in lines[1:]] == pytest.approx([0.1, 0.2])
