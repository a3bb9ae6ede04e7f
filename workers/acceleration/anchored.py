"""What every cache of this floor shares: config, anchors on the sample, the budget's last word, forecasts.

A method says when it wants an anchor and what a forecast is; this class keeps the anchors, never lets a full
evaluation run that the plan cannot pay, and answers with a forecast instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from protocol.calibration import Calibration
from workers.core import Anchor, Emit, Go, Kept, Layout, Row, Sample, Stream, Verdict


class MethodConfig(BaseModel):
    """What a method runs under: its plan's `parameters`, by name, over the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Config = TypeVar("Config", bound=MethodConfig)


class AnchoredCache(Generic[Config]):
    """Base of the caches. Its own behaviour: every evaluation is full while the budget lasts.

    Beside a router, full means all blocks that the router lets run.

    Args:
        layout: of the network.
        calibration: of the weights, if there is one.
    """

    config_type: ClassVar[type[MethodConfig]]
    wants_signal = False
    num_anchors: ClassVar[int] = 2
    """How many anchors a sample keeps."""
    keep: tuple[int, ...] = ()
    """Cuts at which an anchor keeps the row's hidden state."""

    def __init__(self, layout: Layout, calibration: Calibration | None = None) -> None:
        self._layout = layout
        self._calibration = calibration
        self._configs: dict[tuple[tuple[str, float], ...], Any] = {}

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        return [self.full(row.sample, None) for row in rows]

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        raise AssertionError(f"{type(self).__name__} is never asked at a cut")

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        for row, output, cuts in zip(rows, outputs, kept, strict=True):
            if self.anchors_here(row.sample, cuts):
                self.anchor(row.sample, output, cuts or {})
        return outputs

    def config(self, sample: Sample) -> Config:
        """The sample's settings, checked once a set of values.

        Raises:
            pydantic.ValidationError: the plan names a parameter the method does not have.
        """
        key = tuple(sample.plan.parameters.items())
        if key not in self._configs:
            self._configs[key] = self.config_type.model_validate(sample.plan.parameters)
        config: Config = self._configs[key]
        return config

    def full(
        self, sample: Sample, reason: str | None, *, risk: float | None = None, threshold: float | None = None
    ) -> Go | Emit:
        """A full evaluation if the plan can pay it, else a forecast. The first one is always paid."""
        if sample.anchors and not self.affords(sample, self.full_flop(sample)):
            return self.forecast(sample, "guard_denied", risk=risk, threshold=threshold)
        return Go(0, self._layout.num_blocks, self.keep, risk=risk, threshold=threshold, reason=reason)

    def forecast(
        self, sample: Sample, reason: str | None, *, risk: float | None = None, threshold: float | None = None
    ) -> Go | Emit:
        """The forecast as an answer."""
        return Emit(self.predict(sample), risk=risk, threshold=threshold, reason=reason)

    def predict(self, sample: Sample) -> Tensor:
        """The output (lanes, S, C) expected at the sample's present point: the last anchor's, by default."""
        return sample.anchors[-1].output

    def anchors_here(self, sample: Sample, cuts: Kept | None) -> bool:
        """Whether the evaluation just ended makes an anchor: all blocks ran and all cuts were kept."""
        return cuts is not None and set(self.keep) <= set(cuts)

    def anchor(self, sample: Sample, output: Tensor, cuts: Kept) -> None:
        """Remember the evaluation just ended."""
        anchor = Anchor(
            evaluation=sample.evaluation,
            sigma=sample.solver.schedule.sigmas[sample.evaluation],
            latents=sample.latents,
            mask=sample.mask,
            kept=dict(cuts),
            output=output,
        )
        sample.anchors = [*sample.anchors, anchor][-self.num_anchors :]

    def num_steps(self, sample: Sample) -> int:
        """Evaluations of the sample's run, forecasts included."""
        return len(sample.solver.schedule.timesteps)

    def full_flop(self, sample: Sample, evaluation: int | None = None) -> int:
        """FLOP of an evaluation of all the sample's lanes, of all blocks that its router lets it run there.

        Args:
            evaluation: which; None: the present one.
        """
        cost, depths = self._layout.cost(sample.grid), sample.plan.depths
        place = sample.evaluation if evaluation is None else evaluation
        return sample.num_lanes * (cost.of_depth(depths[place]) if depths else cost.evaluation)

    def dearest_flop(self, sample: Sample) -> int:
        """FLOP of the run's deepest evaluation."""
        depths = sample.plan.depths
        return self.full_flop(sample, depths.index(max(depths)) if depths else None)

    def skip_flop(self, sample: Sample) -> int:
        """FLOP of an evaluation that is not full, all lanes; 0 where nothing runs."""
        return 0

    def affords(self, sample: Sample, flop: int) -> bool:
        """Whether the plan pays `flop` for this evaluation and the cheapest completion after it."""
        left = self.num_steps(sample) - sample.evaluation - 1
        return sample.ledger.spent_flop + flop + left * self.skip_flop(sample) <= sample.plan.cap_flop
