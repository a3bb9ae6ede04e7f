"""SpeCa: drafts the features, and runs the last block for real to see how far the draft is off."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from protocol.calibration import Calibration
from workers.acceleration.anchored import AnchoredCache, MethodConfig
from workers.acceleration.residual import ratios
from workers.core import (
    Emit,
    Go,
    Hidden,
    Jump,
    Kept,
    Layout,
    Row,
    Sample,
    Stream,
    Verdict,
    combine,
    taylor_weights,
)

_EPSILON = 1e-10


class SpeCaConfig(MethodConfig):
    """How far a draft may be off, and when it is looked at.

    Args:
        threshold: tau_0, of the error at the start. Default 7, as in the public FLUX script; the error is
            relative element by element, so small features can make it large. Larger is cheaper.
        decay: beta; the threshold falls as beta^(t / T). Default 0.3. Smaller is stricter at the end.
        floor: the threshold never falls below it. Default 0.1.
        min_skip: so many drafts after a full evaluation are taken on trust. Default 2. Larger is cheaper.
        max_skip: after so many drafts an evaluation is full. Default 8; 0 never drafts. Larger is cheaper.
        warmup: evaluations at the start that are full. Default 3; lagged, every second of them.
        order: of the draft. Default 2.
        lagged: 1 (the default) as in the public code: a draft is kept and a failed one makes the next
            evaluation full; after a full one always comes a draft. 0 as in the paper: a failed draft is
            thrown away and the evaluation is full itself, which costs the last block twice.
    """

    threshold: float = Field(default=7.0, ge=0.0)
    decay: float = Field(default=0.3, gt=0.0, le=1.0)
    floor: float = Field(default=0.1, ge=0.0)
    min_skip: int = Field(default=2, ge=0)
    max_skip: int = Field(default=8, ge=0)
    warmup: int = Field(default=3, ge=1)
    order: int = Field(default=2, ge=0, le=2)
    lagged: bool = True


class SpeCa(AnchoredCache[SpeCaConfig]):
    """Drafts by Taylor's series of the hidden states before and after the last block.

    A checked draft enters the last block, and what comes out goes to the head; an unchecked one goes to the
    head by itself. A draft is checked only if the plan could pay the full evaluation a failure asks for. A
    guided sample is judged by its conditional lane.

    `at` leaves on the sample whether the check failed, as "pending", the same whenever it is asked; `end`
    takes it over.

    Source: Liu et al. 2025, "SpeCa: Accelerating Diffusion Transformers with Speculative Feature Caching";
    error and schedule as in its public code.
    """

    config_type = SpeCaConfig
    num_anchors = 3

    def __init__(self, layout: Layout, calibration: Calibration | None = None) -> None:
        super().__init__(layout, calibration)
        self.keep = (layout.num_blocks - 1, layout.num_blocks)

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        return [self._begin(row.sample) for row in rows]

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        if cut < self._layout.num_blocks:
            return [self._draft(row.sample) for row in rows]
        errors = ratios([self._error(row, stream) for row in rows], self._layout.ranks)
        return [self._judge(row.sample, error) for row, error in zip(rows, errors, strict=True)]

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        for row, cuts in zip(rows, kept, strict=True):
            sample = row.sample
            drafts = 0 if self.anchors_here(sample, cuts) else self._drafts(sample) + 1
            sample.control.update(drafts=drafts, failed=sample.control.pop("pending", 0.0))
        return super().end(rows, outputs, kept)

    def skip_flop(self, sample: Sample) -> int:
        cost = self._layout.cost(sample.grid)
        return sample.num_lanes * (cost.embed + cost.head)

    def _begin(self, sample: Sample) -> Go | Emit:
        due = self._due(sample)
        if due is not None:
            full = self.full(sample, due)
            if isinstance(full, Go):
                return full
        if sample.ledger.spent_flop + self.skip_flop(sample) > sample.plan.cap_flop:
            return self.forecast(sample, "guard_denied")
        return Go(0, 0, reason="schedule" if due is None else "guard_denied")

    def _due(self, sample: Sample) -> str | None:
        """Why the evaluation is full whatever a draft would be like, or None."""
        config, drafts = self.config(sample), self._drafts(sample)
        if not sample.anchors:
            return "warmup"
        if drafts >= config.max_skip:
            return "max_skip"
        if config.lagged and drafts == 0:
            return None
        if sample.evaluation < config.warmup:
            return "warmup"
        return "risk" if config.lagged and sample.control["failed"] else None

    def _draft(self, sample: Sample) -> Jump:
        last, num_blocks = self.keep
        if self._drafts(sample) >= self.config(sample).min_skip and self._can_fail(sample):
            return Jump(last, self._forecast(sample, last), ask=True)
        return Jump(num_blocks, self._forecast(sample, num_blocks))

    def _can_fail(self, sample: Sample) -> bool:
        """Whether the plan pays the last block's check and a full evaluation, this one or the next."""
        check = self._layout.cost(sample.grid).blocks[-1] * sample.num_lanes
        return self.affords(sample, check + self.full_flop(sample))

    def _judge(self, sample: Sample, error: float) -> Go:
        config, (_, num_blocks) = self.config(sample), self.keep
        progress = sample.evaluation / self.num_steps(sample)
        limit = max(config.floor, config.threshold * config.decay**progress)
        failed = error > limit
        if failed and not config.lagged:
            return Go(0, num_blocks, self.keep, risk=error, threshold=limit, reason="rejected")
        sample.control["pending"] = float(failed)
        reason = "risk" if failed else "calm"
        return Go(num_blocks, num_blocks, risk=error, threshold=limit, reason=reason)

    def _error(self, row: Row, stream: Stream) -> Tensor:
        """Sum of |draft - real| / (|real| + 1e-10) over the first lane in float32, and how many they are."""
        anchors, weights = row.sample.anchors, self._weights(row.sample)
        draft = combine([anchor.kept[self.keep[1]][0][0] for anchor in anchors], weights).to(torch.float32)
        real = stream.hidden[0][row.lanes.start].to(torch.float32)
        errors = (draft - real).abs() / (real.abs() + _EPSILON)
        return torch.stack([errors.sum(), errors.new_tensor(errors.numel())])

    def _forecast(self, sample: Sample, cut: int) -> Hidden:
        states, weights = [anchor.kept[cut] for anchor in sample.anchors], self._weights(sample)
        return tuple(combine(streams, weights) for streams in zip(*states, strict=True))

    def _weights(self, sample: Sample) -> tuple[float, ...]:
        places = [anchor.evaluation for anchor in sample.anchors]
        return taylor_weights(places, sample.evaluation, self.config(sample).order)

    def _drafts(self, sample: Sample) -> int:
        """Drafts taken since the last full evaluation."""
        return int(sample.control.get("drafts", 0))
