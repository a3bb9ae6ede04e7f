"""How many blocks each evaluation runs: PARE's line over the noise levels, as high as the budget pays.

Source: Wang et al. 2026 (PARE, arXiv:2605.27336), eq. 8, with t / T = sigma; the height is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from protocol.cost.ops import DenoiserCost
from protocol.shapes import ModelShapes, WanShapes

LEAST_DEPTH = 2
"""The first and the last block always run."""
_LEAST_SHARE, _MOST_SHARE = 0.4, 0.85
"""Of the blocks, where nothing was trained: the line a router of the reference model is trained on."""


class Span(NamedTuple):
    """K_min and K_max of the line, and `ceiling`, the most blocks an evaluation may run."""

    least: float
    most: float
    ceiling: int

    @property
    def floor(self) -> int:
        """K_min in whole blocks."""
        return max(LEAST_DEPTH, round_half_up(self.least))

    def at(self, sigma: float) -> float:
        """K(t) before rounding."""
        return self.least + (self.most - self.least) * sigma


def span_of(shapes: ModelShapes) -> Span:
    """What the model's router was trained on; without one, the same line, and no ceiling but all blocks."""
    pare = shapes.pare if isinstance(shapes, WanShapes) else None
    if pare is None:
        return Span(_LEAST_SHARE * shapes.num_blocks, _MOST_SHARE * shapes.num_blocks, shapes.num_blocks)
    most = max(LEAST_DEPTH, round_half_up(pare.most_blocks))
    return Span(pare.least_blocks, pare.most_blocks, min(most, shapes.num_blocks))


def round_half_up(number: float) -> int:
    return math.floor(number + 0.5)


def line(sigmas: Sequence[float], span: Span) -> tuple[int, ...]:
    """The line as it was trained on, between floor and ceiling."""
    return tuple(min(max(round_half_up(span.at(sigma)), span.floor), span.ceiling) for sigma in sigmas)


def fitted(
    sigmas: Sequence[float], span: Span, cost: DenoiserCost, lanes: int, budget_flop: int
) -> tuple[int, ...]:
    """The line at the greatest height whose evaluations cost at most the budget in all.

    Every evaluation begins at the floor (at the first and the last block, where the budget does not pay the
    floors) and rises to the ceiling. As the height grows, evaluation i gets its block k + 1 at
    (k + .5) / K(sigma_i), so blocks are bought in that order while the money lasts: what is left over is less
    than one block. At a height of 1 it is the line itself, halves rounded up.

    Args:
        sigmas: of the evaluations, falling.
        span: of the line.
        cost: a row's, all blocks alike.
        lanes: rows of the sample.
        budget_flop: of all evaluations; if not even first and last blocks fit, these are returned.
    """
    pays = budget_flop >= len(sigmas) * lanes * cost.of_depth(span.floor)
    floor = span.floor if pays else LEAST_DEPTH
    left = budget_flop - len(sigmas) * lanes * cost.of_depth(floor)
    block = lanes * cost.blocks[0]
    rises = sorted(
        ((depth + 0.5) / span.at(sigma), place)
        for place, sigma in enumerate(sigmas)
        for depth in range(floor, span.ceiling)
    )
    depths = [floor] * len(sigmas)
    for _, place in rises[: max(0, left // block)]:
        depths[place] += 1
    return tuple(depths)
