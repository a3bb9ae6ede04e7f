"""Levels and widths by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from workers.sampling.discrete import grids
from workers.sampling.discrete.grids import Grid
from workers.sampling.discrete.noise import Geometric, LogLinear, Noise


def test_geometric_by_hand() -> None:
    grid = grids.geometric_grid(2, 4.0, 1.0)
    assert grid.sigmas == (4.0, pytest.approx(2.0), 1.0)
    assert grid.widths == (pytest.approx(2.0), pytest.approx(1.0))


def test_log_linear_steps_are_even_in_what_is_kept() -> None:
    grid = grids.log_linear_grid(4, 3.0, 0.01)
    kept = [math.exp(-sigma) for sigma in grid.sigmas]
    assert [after - now for now, after in pairwise(kept)] == pytest.approx([(kept[-1] - kept[0]) / 4] * 4)


def test_odds_are_in_equal_ratios() -> None:
    odds = [math.expm1(sigma) for sigma in grids.odds_grid(3, 6.0, 0.01).sigmas]
    assert [after / now for now, after in pairwise(odds)] == pytest.approx(
        [(odds[-1] / odds[0]) ** (1 / 3)] * 3
    )


@pytest.mark.parametrize("make", [grids.geometric_grid, grids.odds_grid, grids.log_linear_grid])
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_a_grid_falls_from_end_to_end(make: Callable[[int, float, float], Grid], steps: int) -> None:
    grid = make(steps, 6.0, 0.01)
    assert (len(grid.sigmas), len(grid.widths)) == (steps + 1, steps)
    assert grid.sigmas[0] == 6.0
    assert steps == 0 or grid.sigmas[-1] == 0.01
    assert all(width > 0 for width in grid.widths)


@pytest.mark.parametrize("noise", [Geometric(), LogLinear()])
def test_a_rate_is_the_slope_of_the_noise(noise: Noise) -> None:
    for time in (0.1, 0.5, 0.9):
        slope = (noise.sigma(time + 1e-6) - noise.sigma(time - 1e-6)) / 2e-6
        assert noise.rate(time) == pytest.approx(slope, rel=1e-5)


def test_noise_ends_by_hand() -> None:
    assert Geometric(1e-4, 20.0).sigma(1.0) == pytest.approx(20.0)
    assert Geometric(1e-4, 20.0).sigma(0.0) == pytest.approx(1e-4)
    assert math.exp(-LogLinear(1e-3).sigma(1.0)) == pytest.approx(1e-3)


def test_sedds_own_widths_are_local_rates() -> None:
    """One step from time 1 to 1e-5 at the rate of its start, 20 ln(200,000); exactly it is 20 - 1e-4."""
    local = grids.time_grid(Geometric(), 1, local_rates=True)
    exact = grids.time_grid(Geometric(), 1)
    assert local.widths == (pytest.approx(20 * math.log(2e5), rel=1e-4),)
    assert exact.widths == (pytest.approx(20 - 1e-4, rel=1e-4),)
