"""Which moves a number of evaluations buys, and how many calls of score some moves make."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from workers.sampling.discrete.blocks import Propose, Verify
from workers.sampling.discrete.correctors import OneSite, Stale, StationaryLeap, Synchronous
from workers.sampling.discrete.predictors import ONE_CALL
from workers.sampling.discrete.settings import Settings
from workers.sampling.discrete.state import Move
from workers.sampling.discrete.steps import Denoise, step


def plan_moves(settings: Settings, nfe: int) -> tuple[Move, ...]:
    """The longest run that makes exactly `nfe` calls.

    Every step is a predictor's with the corrector after it, as many as can be paid. What is left over buys
    steps of one call without a corrector, and they come first, where there is least to correct.
    """
    none, one, two = (count_calls(moves_of(settings, 0, corrected)) for corrected in range(3))
    if nfe < one:
        return moves_of(settings, nfe - none, 0)
    corrected, plain = divmod(nfe - one, two - one)
    return moves_of(settings, plain, 1 + corrected)


def count_calls(moves: Sequence[Move]) -> int:
    """Calls of score these moves make: one each, but for those that a move before leaves ratios for."""
    return len(moves) - sum(now.leaves_ratios for now, _ in pairwise(moves))


def moves_of(settings: Settings, plain: int, corrected: int) -> tuple[Move, ...]:
    """A run of so many steps without a corrector and then so many with one."""
    grid = settings.make_grid(plain + corrected)
    moves: list[Move] = []
    for place, width in enumerate(grid.widths):
        predictor = settings.predictor
        if place < plain and predictor not in ONE_CALL:
            predictor = "tweedie"
        moves += step(predictor, grid.sigmas[place], width, settings.theta)
        if place >= plain:
            moves += correction(settings, grid.sigmas[place + 1], width)
    if settings.denoise:
        moves.append(Denoise(grid.sigmas[-1]))
    return tuple(moves)


def correction(settings: Settings, sigma: float, width: float) -> tuple[Move, ...]:
    """The corrector's moves at the level a step of `width` has come to."""
    chosen = settings
    if chosen.corrector == "blocks":
        return Propose(sigma, chosen.spacing, chosen.share), Verify(sigma, chosen.segment)
    if chosen.corrector in ("exact", "gated"):
        confidence = chosen.confidence if chosen.corrector == "gated" else None
        return (OneSite(sigma, confidence),) * chosen.updates
    if chosen.corrector == "stale" and chosen.updates:
        return (Stale(sigma, chosen.updates, chosen.threshold),)
    if chosen.corrector == "sync" and chosen.sweeps:
        sweeps, times = (chosen.sweeps, 1) if chosen.frozen else (1, chosen.sweeps)
        return (Synchronous(sigma, sweeps, chosen.threshold),) * times
    return (StationaryLeap(sigma, chosen.multiplier * width),) if chosen.corrector == "ctmc" else ()
