"""Forecast weights, worked by hand: exact where they claim to be, off by what they claim to be off by."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from workers.core import combine, newton_weights, taylor_weights

Weigh = Callable[[Sequence[float], float, int], tuple[float, ...]]


def at(weights: tuple[float, ...], values: list[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, values, strict=True))


def test_taylor_weights_by_hand() -> None:
    """Anchors 0, 2, 4; at 5 x = 1. D1 = (f4 - f2)/2; D2 = (D1 - (f2 - f0)/2)/2 = (f4 - 2 f2 + f0)/4.

    f4 + D1 + D2/2 = f4 (1 + 1/2 + 1/8) + f2 (-1/2 - 1/4) + f0/8.
    """
    assert taylor_weights([0, 2, 4], 5, 0) == (0, 0, 1)
    assert taylor_weights([0, 2, 4], 5, 1) == (0, -0.5, 1.5)
    assert taylor_weights([0, 2, 4], 5, 2) == (0.125, -0.75, 1.625)


def test_newton_weights_by_hand() -> None:
    """Lagrange on 0, 2, 4 at 5: (3 x 1)/(2 x 4), (5 x 1)/(2 x -2), (5 x 3)/(4 x 2)."""
    assert newton_weights([0, 2, 4], 5, 2) == (0.375, -1.25, 1.875)
    assert newton_weights([0, 2, 4], 5, 1) == (0, -0.5, 1.5)
    assert newton_weights([0, 2, 4], 5, 0) == (0, 0, 1)


@pytest.mark.parametrize("weigh", [taylor_weights, newton_weights])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("anchors", [[3.0], [1.0, 3.0], [0.0, 1.0, 5.0], [9.0, 7.5, 4.0, 3.0]])
def test_weights_add_up_to_one_whatever_is_there(weigh: Weigh, order: int, anchors: list[float]) -> None:
    """Fewer anchors than the order wants give a lower order."""
    weights = weigh(anchors, 2.0, order)
    assert len(weights) == len(anchors)
    assert sum(weights) == pytest.approx(1.0)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_taylor_is_exact_on_lines_whatever_the_spacing(order: int) -> None:
    places = [1.0, 0.9, 0.6, 0.2]
    assert at(taylor_weights(places, 0.05, order), [3 - 2 * p for p in places]) == pytest.approx(2.9)


@pytest.mark.parametrize("spacing", [1, 2, 5])
@pytest.mark.parametrize("ahead", [1, 3, 4])
def test_second_order_taylor_misses_a_square_by_the_spacing_times_the_distance(
    spacing: int, ahead: int
) -> None:
    """N^2 (n + x/N)^2 wants x^2 more than the line through the last anchor; the series gives x^2 - N x."""
    places = [0, spacing, 2 * spacing]
    place = places[-1] + ahead
    found = at(taylor_weights(places, place, 2), [p**2 for p in places])
    assert found - place**2 == pytest.approx(-spacing * ahead)


def test_newton_is_exact_on_squares_whatever_the_spacing() -> None:
    places = [1.0, 0.9, 0.6, 0.2]
    values = [1 - p + 4 * p**2 for p in places]
    assert at(newton_weights(places, 0.05, 2), values) == pytest.approx(0.96)
    assert at(taylor_weights(places, 0.05, 2), values) != pytest.approx(0.96, abs=0.01)


def test_combine_rounds_once() -> None:
    """1 + 2^-8 lies between two bfloat16 neighbours: rounded at each sum it would be lost twice."""
    one, small = torch.ones(4, dtype=torch.bfloat16), torch.full((4,), 2.0**-8, dtype=torch.bfloat16)
    stepwise = one + small + small
    assert stepwise.tolist() == [1.0] * 4
    assert combine([one, small, small], [1.0, 1.0, 1.0]).tolist() == [1 + 2.0**-7] * 4
    assert combine([one, small, small], [1.0, 1.0, 1.0]).dtype == torch.bfloat16


def test_combine_leaves_its_tensors_alone() -> None:
    """A weight of 1 alone is the tensor itself; nothing is written in place; zero weights are left out."""
    kept, nan = torch.tensor([2.0]), torch.tensor([float("nan")])
    assert combine([nan, kept], [0.0, 1.0]) is kept
    assert combine([nan, kept], [0.0, 0.5]).tolist() == [1.0]
    assert combine([kept, kept], [0.0, 0.0]).tolist() == [0.0]
    assert combine([kept, kept], [-1.0, 2.5]).tolist() == [3.0]
    assert kept.tolist() == [2.0]
