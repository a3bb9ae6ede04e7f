"""TaylorSeer: full at fixed intervals, and between them the output's Taylor series."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from workers.acceleration.anchored import AnchoredCache, MethodConfig
from workers.acceleration.spaces import OutputSpace, Space, extrapolate
from workers.core import Emit, Go, Row, Sample, newton_weights, taylor_weights


class TaylorSeerConfig(MethodConfig):
    """How often to evaluate and how to forecast.

    Args:
        interval: after the warm-up every so-maniest evaluation is full; 1 is all of them. Default 6, as in
            the public FLUX script. Larger is cheaper and drifts further.
        order: of the forecast. Default 1, as there; the papers use 2. On smooth paths a higher one strays
            less over short gaps and rings over long ones.
        warmup: so many evaluations at the start are full. Default 3; fewer are cheaper, and the first
            forecasts then rest on fewer or no differences.
        newton: 1 takes the polynomial through the anchors in place of the paper's series: exact up to its
            order, and louder on noise. Default 0.
        space: of the forecast, by number: flow 0, the default, x0 1, eps 2.
    """

    interval: int = Field(default=6, ge=1)
    order: int = Field(default=1, ge=0, le=3)
    warmup: int = Field(default=3, ge=1)
    newton: bool = False
    space: OutputSpace = Space.FLOW


class TaylorSeer(AnchoredCache[TaylorSeerConfig]):
    """The "lite" form: one series, of the network's output, over evaluation numbers.

    Source: Liu et al. 2025, "From Reusing to Forecasting" (TaylorSeer), eq. 3; the schedule as in its public
    code.
    """

    config_type = TaylorSeerConfig
    num_anchors = 4

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        return [self._answer(row.sample) for row in rows]

    def predict(self, sample: Sample) -> Tensor:
        config, anchors = self.config(sample), sample.anchors
        weigh = newton_weights if config.newton else taylor_weights
        weights = weigh([anchor.evaluation for anchor in anchors], sample.evaluation, config.order)
        return extrapolate(sample, weights, config.space)

    def _answer(self, sample: Sample) -> Go | Emit:
        config, index = self.config(sample), sample.evaluation
        if index < config.warmup:
            return self.full(sample, "warmup")
        if (index - config.warmup + 1) % config.interval == 0:
            return self.full(sample, "schedule")
        return self.forecast(sample, "schedule")
