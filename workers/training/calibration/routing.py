"""A student's own router in a calibration: unabridged runs are those of the line it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from protocol.depths import line, span_of
from protocol.shapes import ModelShapes
from workers.core import Schedule
from workers.core.pare_router import DepthRouter, top_blocks


@dataclass(frozen=True)
class Routing:
    """A learned router, and how many blocks each evaluation of the unabridged run has."""

    router: DepthRouter
    depths: tuple[int, ...]

    def blocks(self, logits: Tensor, index: int) -> Tensor:
        """Which blocks rows of these logits (R, N) run at step `index`: (R, N) bool."""
        return top_blocks(logits, self.depths[index])


def routing_of(router: DepthRouter | None, shapes: ModelShapes, schedule: Schedule) -> Routing | None:
    """The line along this schedule, one evaluation a step; None where there is no router."""
    if router is None:
        return None
    levels = schedule.sigmas[: len(schedule.timesteps)]
    return Routing(router, line(levels, span_of(shapes)))
