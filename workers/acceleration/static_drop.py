"""Static block dropping: the same blocks run for every input."""

from __future__ import annotations

from functools import lru_cache

from protocol.calibration import Calibration
from protocol.depths import round_half_up
from workers.acceleration.residual import table
from workers.acceleration.routed import BlindRouter
from workers.core import Layout, Sample
from workers.core.pare_router import DepthRouter

_METHOD = "static-drop"


class StaticDrop(BlindRouter):
    """The blocks the calibration ranks highest; without one, evenly spaced ones.

    Raises:
        ValueError: the calibration's ranking is not one of all blocks, the most important first.
    """

    def __init__(
        self, layout: Layout, calibration: Calibration | None = None, learned: DepthRouter | None = None
    ) -> None:
        super().__init__(layout, calibration, learned)
        ranking = tuple(map(int, table(calibration, _METHOD, "ranking", ())))
        if ranking and sorted(ranking) != list(range(layout.num_blocks)):
            raise ValueError(f"{_METHOD}: ranking {ranking} is not one of {layout.num_blocks} blocks")
        ends = (0, layout.num_blocks - 1)
        self._ranking = (*ends, *(block for block in ranking if block not in ends)) if ranking else ()

    def blocks(self, sample: Sample, depth: int) -> tuple[bool, ...]:
        kept = self._ranking[:depth] or even_blocks(depth, self._layout.num_blocks)
        return tuple(block in kept for block in range(self._layout.num_blocks))


@lru_cache(maxsize=256)
def even_blocks(depth: int, num_blocks: int) -> tuple[int, ...]:
    """`depth` blocks (at least 2) of so many, from the first to the last, as evenly as whole numbers go."""
    return tuple(round_half_up(place * (num_blocks - 1) / (depth - 1)) for place in range(depth))
