"""Points 2, 3 and 4: which correctors leave the law of their level alone, by transition matrices."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.discrete_exact.enumerable import Enumerable, autoregressive, point_masses, total_variation
from benchmarks.discrete_exact.kernels import matrix
from workers.sampling.discrete.blocks import Propose, Verify
from workers.sampling.discrete.correctors import OneSite, Stale, StationaryLeap, Synchronous
from workers.sampling.discrete.plan import plan_moves
from workers.sampling.discrete.settings import Settings, read_settings

SIGMA = 0.3
SOURCES = {"autoregressive": autoregressive(4, 4, scale=1.5), "point masses": point_masses(3, 4, count=4)}


def residual(source: Enumerable, kernel: Tensor) -> float:
    law = source.at(SIGMA)
    assert (kernel.sum(1) - 1).abs().max() < 1e-12
    assert kernel.min() > -1e-15
    return total_variation(law @ kernel, law)


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> Enumerable:
    return SOURCES[request.param]


def test_exact_is_invariant(source: Enumerable) -> None:
    assert residual(source, matrix(source, OneSite(SIGMA))) < 1e-12


@pytest.mark.parametrize("confidence", [0.5, 0.6, 0.9])
def test_gated_is_invariant(source: Enumerable, confidence: float) -> None:
    assert residual(source, matrix(source, OneSite(SIGMA, confidence))) < 1e-12


@pytest.mark.parametrize("spacing", [1, 2, 3])
def test_blocks_of_two_sites_are_invariant(source: Enumerable, spacing: int) -> None:
    kernel = matrix(source, Propose(SIGMA, spacing, 0.5), Verify(SIGMA, None))
    assert residual(source, kernel) < 1e-12


def test_blocks_are_invariant_where_tokens_interact_in_pairs() -> None:
    """All of five tokens at once under a random Ising-like law, which no noise has blurred."""
    generator = torch.Generator().manual_seed(5)
    states = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 5).double()
    couplings = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    source = Enumerable((states @ couplings * states).sum(1).exp().reshape((2,) * 5))
    law = source.at(0.0)
    kernel = matrix(source, Propose(0.0, 1, 1.0), Verify(0.0, None))
    assert total_variation(law @ kernel, law) < 1e-12


def test_larger_blocks_are_nearly_invariant(source: Enumerable) -> None:
    """All tokens at once, the worst a block can be; unverified it is a synchronous sweep."""
    verified = residual(source, matrix(source, Propose(SIGMA, 1, 1.0), Verify(SIGMA, None)))
    unverified = residual(source, matrix(source, Synchronous(SIGMA, 1, None)))
    assert verified < unverified / 5


@pytest.mark.parametrize(
    "move",
    [
        Stale(SIGMA, 2, None),
        Synchronous(SIGMA, 1, None),
        Stale(SIGMA, 1, 0.1),
        Stale(SIGMA, 4, 0.1),
        Synchronous(SIGMA, 1, 0.1),
    ],
    ids=str,
)
def test_stale_sync_and_thresholds_are_not_invariant(source: Enumerable, move: Stale | Synchronous) -> None:
    assert residual(source, matrix(source, move)) > 0.01


def test_ctmc_is_invariant_in_the_limit_only(source: Enumerable) -> None:
    residuals = [
        residual(source, matrix(source, StationaryLeap(SIGMA, width))) for width in (0.1, 0.05, 0.025)
    ]
    assert residuals[0] > 1e-3
    assert residuals[0] > 3 * residuals[1] > 9 * residuals[2]


@pytest.mark.parametrize("corrector", ["exact", "gated", "stale", "gadd-paper"])
def test_no_updates_are_euler_exactly(corrector: str) -> None:
    if corrector == "gadd-paper":
        settings = replace(read_settings(4, 4, corrector, None, {}), updates=0)
    else:
        settings = read_settings(4, 4, corrector, "euler", {"updates": 0})
    assert plan_moves(settings, 9) == plan_moves(Settings(4, 4, "none", "euler"), 9)


def test_one_stale_update_without_threshold_is_an_exact_one(source: Enumerable) -> None:
    difference = matrix(source, Stale(SIGMA, 1, None)) - matrix(source, OneSite(SIGMA))
    assert difference.abs().max() < 1e-15
