"""A fixed schedule: full at named evaluations, and between them a forecast in sigma."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from pydantic import Field
from torch import Tensor

from workers.acceleration.anchored import AnchoredCache, MethodConfig
from workers.acceleration.spaces import Space, extrapolate
from workers.core import (
    Emit,
    Go,
    Hidden,
    Jump,
    Kept,
    Row,
    Sample,
    Stream,
    Verdict,
    combine,
    newton_weights,
    taylor_weights,
)


class StaticConfig(MethodConfig):
    """Where to evaluate, if the plan names no nodes, and how to forecast.

    Args:
        num_full: full evaluations, spread evenly; more than the run has is all of them. Default 8. Fewer are
            cheaper and drift further.
        warmup: so many of them stand at the start. Default 3; more leave longer gaps later.
        order: of the forecast. Default 1; higher rings over long gaps.
        newton: 1 takes the polynomial through the anchors in place of TaylorSeer's series, which matters
            from order 2 on. Default 0.
        space: of the forecast, by number: flow 0, the default, x0 1, eps 2; features 3, whose forecasts run
            the embedding and the head.
    """

    num_full: int = Field(default=8, ge=1)
    warmup: int = Field(default=3, ge=1)
    order: int = Field(default=1, ge=0, le=3)
    newton: bool = False
    space: Space = Space.FLOW


class Static(AnchoredCache[StaticConfig]):
    """Full at `plan.nodes` and at 0, whatever the sample looks like."""

    config_type = StaticConfig
    num_anchors = 4

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        return [self._answer(row.sample) for row in rows]

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        """Behind the embedding of a forecast of features: to the head with what is expected there."""
        return [self._to_head(row.sample) for row in rows]

    def full(
        self, sample: Sample, reason: str | None, *, risk: float | None = None, threshold: float | None = None
    ) -> Go | Emit:
        verdict = super().full(sample, reason, risk=risk, threshold=threshold)
        if self._of_features(sample) and isinstance(verdict, Go) and verdict.until:
            return replace(verdict, keep=(self._layout.num_blocks,))
        return verdict

    def forecast(
        self, sample: Sample, reason: str | None, *, risk: float | None = None, threshold: float | None = None
    ) -> Go | Emit:
        """Of features: to the embedding; a plan that cannot pay even that gets the last output again."""
        if not self._of_features(sample):
            return super().forecast(sample, reason, risk=risk, threshold=threshold)
        if sample.ledger.spent_flop + self.skip_flop(sample) > sample.plan.cap_flop:
            return Emit(sample.anchors[-1].output, reason="guard_denied")
        return Go(0, 0)

    def predict(self, sample: Sample) -> Tensor:
        return extrapolate(sample, self._weights(sample), self.config(sample).space)

    def anchors_here(self, sample: Sample, cuts: Kept | None) -> bool:
        return cuts is not None and (not self._of_features(sample) or self._layout.num_blocks in cuts)

    def skip_flop(self, sample: Sample) -> int:
        cost = self._layout.cost(sample.grid)
        return sample.num_lanes * (cost.embed + cost.head) if self._of_features(sample) else 0

    def _of_features(self, sample: Sample) -> bool:
        return self.config(sample).space is Space.FEATURES

    def _features(self, sample: Sample) -> Hidden:
        """What is expected behind the last block, one entry a lane."""
        kept = [anchor.kept[self._layout.num_blocks] for anchor in sample.anchors]
        weights = self._weights(sample)
        return tuple(combine(tensors, weights) for tensors in zip(*kept, strict=True))

    def _weights(self, sample: Sample) -> tuple[float, ...]:
        config = self.config(sample)
        weigh = newton_weights if config.newton else taylor_weights
        sigma = sample.solver.schedule.sigmas[sample.evaluation]
        return weigh([anchor.sigma for anchor in sample.anchors], sigma, config.order)

    def _answer(self, sample: Sample) -> Go | Emit:
        if self._is_node(sample):
            return self.full(sample, "schedule")
        return self.forecast(sample, "schedule")

    def _is_node(self, sample: Sample) -> bool:
        config = self.config(sample)
        nodes = sample.plan.nodes or even_nodes(self.num_steps(sample), config.num_full, config.warmup)
        return sample.evaluation == 0 or sample.evaluation in nodes

    def _to_head(self, sample: Sample) -> Jump:
        """A node that comes here was refused."""
        reason = "guard_denied" if self._is_node(sample) else "schedule"
        return Jump(self._layout.num_blocks, self._features(sample), reason=reason)


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
