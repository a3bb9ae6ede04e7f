"""Moves at one noise level, from the paper: Gibbs updates of its kinds, and the CTMC corrector.

Source: Liang et al. 2026 (GADD, arXiv:2605.27352), Algorithms 1 and 2; Campbell et al. 2022 for CTMC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from workers.kernels import gibbs_step
from workers.sampling.discrete import predictors
from workers.sampling.discrete.state import TokenState


@dataclass(frozen=True, slots=True)
class OneSite:
    """Resample one site a row, drawn evenly among the free ones, from a score of the present tokens.

    Leaves the level's law as it is. With `confidence` the site is resampled only if its largest conditional
    probability is above: that looks at the other tokens alone, so the law still stands.
    """

    sigma: float
    confidence: float | None = None
    leaves_ratios: ClassVar[bool] = False

    def apply(self, state: TokenState, ratios: Tensor) -> None:
        sites = draw_sites(state, 1)
        numbers = state.uniforms(1, "site value")
        state.tokens = gibbs_step(state.tokens, ratios, sites, numbers, confidence=self.confidence)


@dataclass(frozen=True, slots=True)
class Stale:
    """Many one-site updates, one after another, from one frozen score. Does not keep the level's law.

    Args:
        updates: L; sites are drawn with replacement.
        threshold: a token is changed only if its probability is below. Sharpens.
    """

    sigma: float
    updates: int
    threshold: float | None
    leaves_ratios: ClassVar[bool] = False

    def apply(self, state: TokenState, ratios: Tensor) -> None:
        sites = draw_sites(state, self.updates)
        numbers = state.uniforms(self.updates, "site value")
        for place in range(self.updates):
            now = slice(place, place + 1)
            state.tokens = gibbs_step(
                state.tokens, ratios, sites[:, now], numbers[:, now], threshold=self.threshold
            )


@dataclass(frozen=True, slots=True)
class Synchronous:
    """All sites at once from one frozen score, `sweeps` times. Does not keep the level's law."""

    sigma: float
    sweeps: int
    threshold: float | None
    leaves_ratios: ClassVar[bool] = False

    def apply(self, state: TokenState, ratios: Tensor) -> None:
        sites = state.everywhere()
        numbers = state.uniforms(self.sweeps * sites.shape[1], "site value")
        for each in numbers.chunk(self.sweeps, dim=1):
            state.tokens = gibbs_step(state.tokens, ratios, sites, each, threshold=self.threshold)


@dataclass(frozen=True, slots=True)
class StationaryLeap:
    """The CTMC corrector. Keeps the level's law as the width goes to 0."""

    sigma: float
    width: float
    leaves_ratios: ClassVar[bool] = False

    def apply(self, state: TokenState, ratios: Tensor) -> None:
        state.redraw(predictors.stationary_leap(ratios, state.tokens, self.width), "correct")


def draw_sites(state: TokenState, count: int) -> Tensor:
    """(B, count) free positions, each drawn evenly with replacement; -1 in a row that has none."""
    free = ~state.given.mask
    totals = free.sum(1, keepdim=True)
    ranks = (state.uniforms(count, "site") * totals).long()
    passed = free.long().cumsum(1)
    sites = torch.searchsorted(passed, ranks, right=True)
    return torch.where(totals > 0, sites, -1)
