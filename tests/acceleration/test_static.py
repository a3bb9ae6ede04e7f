"""A fixed schedule on a curve: the toy's output is 6 + 5 c(k)."""

from __future__ import annotations

import pytest
import torch

from tests.acceleration.support import Curve, Moves, curve_sample, fulls, moved
from workers.acceleration.static import even_nodes
from workers.core import Schedule
from workers.sampling import make_solver


def test_full_at_the_nodes_and_at_zero() -> None:
    """Zero is always full; a node past the end is never come to."""
    lines = moved(Curve(float, 10), "static", nodes=(1, 4, 7, 12))
    assert fulls(lines) == [0, 1, 4, 7]
    assert {line.reason for line in lines} == {"schedule"}


@pytest.mark.parametrize(
    ("arguments", "nodes"),
    [
        ((28, 9, 3), (0, 1, 2, 5, 9, 13, 16, 20, 24)),  # 2 + floor(26 k / 7)
        ((10, 4, 1), (0, 2, 5, 7)),  # floor(10 k / 4)
        ((10, 1, 3), (0,)),
        ((5, 5, 2), (0, 1, 2, 3, 4)),
        ((4, 9, 1), (0, 1, 2, 3)),
    ],
)
def test_even_nodes_by_hand(arguments: tuple[int, int, int], nodes: tuple[int, ...]) -> None:
    assert even_nodes(*arguments) == nodes


def test_even_nodes_are_as_many_as_asked_for() -> None:
    for steps in range(1, 30):
        for count in range(1, steps + 1):
            for warmup in range(1, count + 1):
                nodes = even_nodes(steps, count, warmup)
                assert len(set(nodes)) == count
                assert nodes[:warmup] == tuple(range(warmup))
                assert max(nodes) < steps


def test_without_nodes_they_are_spread_evenly() -> None:
    assert fulls(moved(Curve(float, 10), "static", {"num_full": 4, "warmup": 1})) == [0, 2, 5, 7]
    assert fulls(moved(Curve(float, 28), "static")) == list(even_nodes(28, 8, 3))


@pytest.mark.parametrize("newton", [0, 1])
def test_the_forecast_is_linear_in_sigma(newton: int) -> None:
    """Outputs 6 and 11 at sigma 1 and .9: -50 a unit of sigma. At .6 that makes 26, at .2 it makes 46."""
    network = Curve(float, 4)
    sample = curve_sample(network, "static", {"newton": newton}, nodes=(0, 1))
    schedule = Schedule((1.0, 0.9, 0.6, 0.2, 0.0), sample.solver.schedule.timesteps)
    sample.solver = make_solver("euler").start(schedule, torch.float32)
    lines = Moves(network).finish(sample)
    assert [line.output for line in lines] == [6, 11, pytest.approx(26), pytest.approx(46)]


def test_newtons_second_order_is_exact_on_a_square() -> None:
    """Anchors 0, 2, 4 on even sigmas; at 5 it is 131, and the series misses by 5 N x = 10."""
    for newton, at_five in ((0, 121), (1, 131)):
        parameters = {"order": 2, "newton": newton}
        lines = moved(Curve(lambda k: k * k, 6), "static", parameters, nodes=(0, 2, 4))
        assert lines[5].output == pytest.approx(at_five, abs=1e-3)


def test_a_node_that_the_budget_refuses_is_forecast() -> None:
    lines = moved(Curve(float, 6), "static", nodes=(0, 1, 3), fulls=2)
    assert fulls(lines) == [0, 1]
    assert (lines[3].reason, lines[3].output) == ("guard_denied", pytest.approx(21))
