"""A fixed schedule: full at named evaluations, and between them a forecast in sigma."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pydantic import Field
from torch import Tensor

from workers.acceleration.anchored import AnchoredCache, MethodConfig
from workers.core import Emit, Go, Row, Sample, combine, newton_weights, taylor_weights


class StaticConfig(MethodConfig):
    """Where to evaluate, if the plan names no nodes, and how to forecast.

    Args:
        num_full: full evaluations, spread evenly; more than the run has is all of them. Default 8. Fewer are
            cheaper and drift further.
        warmup: so many of them stand at the start. Default 3; more leave longer gaps later.
        order: of the forecast. Default 1; higher rings over long gaps.
        newton: 1 takes the polynomial through the anchors in place of TaylorSeer's series, which matters
            from order 2 on. Default 0.
    """

    num_full: int = Field(default=8, ge=1)
    warmup: int = Field(default=3, ge=1)
    order: int = Field(default=1, ge=0, le=3)
    newton: bool = False


class Static(AnchoredCache[StaticConfig]):
    """Full at `plan.nodes` and at 0, whatever the sample looks like."""

    config_type = StaticConfig
    num_anchors = 4

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        return [self._answer(row.sample) for row in rows]

    def predict(self, sample: Sample) -> Tensor:
        config, anchors = self.config(sample), sample.anchors
        weigh = newton_weights if config.newton else taylor_weights
        sigma = sample.solver.schedule.sigmas[sample.evaluation]
        weights = weigh([anchor.sigma for anchor in anchors], sigma, config.order)
        return combine([anchor.output for anchor in anchors], weights)

    def _answer(self, sample: Sample) -> Go | Emit:
        config = self.config(sample)
        nodes = sample.plan.nodes or even_nodes(self.num_steps(sample), config.num_full, config.warmup)
        if sample.evaluation == 0 or sample.evaluation in nodes:
            return self.full(sample, "schedule")
        return self.forecast(sample, "schedule")


@lru_cache(maxsize=256)
def even_nodes(num_steps: int, num_full: int, warmup: int) -> tuple[int, ...]:
    """`num_full` evaluations of `num_steps`: the first `warmup`, and the others evenly after them.

    The gap after the last one is as long as those before it, rounding aside.
    """
    num_full = min(num_full, num_steps)
    warmup = min(warmup, num_full)
    rest = num_full - warmup
    later = (warmup - 1 + place * (num_steps - warmup + 1) // (rest + 1) for place in range(1, rest + 1))
    return (*range(warmup), *later)
