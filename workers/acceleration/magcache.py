"""MagCache: skips while a table of residual magnitudes says that little is lost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pydantic import Field
from torch import Tensor

from protocol.calibration import Calibration
from workers.acceleration.anchored import MethodConfig
from workers.acceleration.residual import ResidualCache, lanes, table
from workers.core import Hidden, Kept, Layout, Row, Sample, Stream, Verdict

# fmt: off
FLUX_RATIOS = (
    1.0, 1.21094, 1.11719, 1.07812, 1.0625, 1.03906, 1.03125, 1.03906, 1.02344, 1.03125, 1.02344, 0.98047,
    1.01562, 1.00781, 1.0, 1.00781, 1.0, 1.00781, 1.0, 1.0, 0.99609, 0.99609, 0.98047, 0.98828, 0.96484,
    0.95703, 0.93359, 0.89062,
)
# fmt: on
"""Mean |R_t| / |R_t-1| of FLUX.1-dev's residuals over 28 evaluations, by the method's authors."""


class MagCacheConfig(MethodConfig):
    """How much error the table may add up to.

    Args:
        threshold: of the error added up since the last full evaluation; 0 never skips. Default 0.24, as
            published for FLUX.1-dev. Larger is cheaper and drifts further.
        max_skip: so many evaluations in a row may be skipped. Default 5, as there. Larger is cheaper.
        retention: this share of the evaluations, at the start, is full. Default 0.1. Larger is safer.
        always: the number of one evaluation that is never skipped; -1 (the default) is none. The public FLUX
            script has 11 of 28.
    """

    threshold: float = Field(default=0.24, ge=0.0)
    max_skip: int = Field(default=5, ge=0)
    retention: float = Field(default=0.1, ge=0.0, le=1.0)
    always: int = Field(default=-1, ge=-1)


class Skips(NamedTuple):
    """A run of skipped evaluations: product of the ratios, error added up, how many."""

    ratio: float = 1.0
    error: float = 0.0
    skipped: int = 0


class MagCache(ResidualCache[MagCacheConfig]):
    """Decides by the calibration's table and the evaluation's number alone; the features are never looked at.

    Source: Ma et al. 2025, "MagCache: Fast Video Generation with Magnitude-Aware Cache", eqs. 5-8; public
    code for FLUX, which adds the last residual unscaled.
    """

    config_type = MagCacheConfig

    def __init__(self, layout: Layout, calibration: Calibration | None = None) -> None:
        super().__init__(layout, calibration)
        self._ratios = table(calibration, "magcache", "ratios", FLUX_RATIOS)

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        return [self._answer(row.sample, lanes(row, stream)) for row in rows]

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        for row, cuts in zip(rows, kept, strict=True):
            full = self.anchors_here(row.sample, cuts)
            row.sample.control.update((Skips() if full else self._skipping(row.sample))._asdict())
        return super().end(rows, outputs, kept)

    def _answer(self, sample: Sample, hidden: Hidden) -> Verdict:
        config, index = self.config(sample), sample.evaluation
        if not sample.anchors or index < round(config.retention * self.num_steps(sample)):
            return self.run_on(sample, hidden, "warmup")
        if index == config.always:
            return self.run_on(sample, hidden, "schedule")
        skips, limit = self._skipping(sample), config.threshold
        if skips.skipped > config.max_skip:
            return self.run_on(sample, hidden, "max_skip", risk=skips.error, threshold=limit)
        if limit > 0.0 and skips.error <= limit:
            return self.reuse(sample, hidden, "calm", risk=skips.error, threshold=limit)
        return self.run_on(sample, hidden, "risk", risk=skips.error, threshold=limit)

    def _skipping(self, sample: Sample) -> Skips:
        """What the run of skips comes to if this evaluation is skipped too."""
        control = sample.control
        ratio = control.get("ratio", 1.0) * resampled(self._ratios, self.num_steps(sample))[sample.evaluation]
        return Skips(ratio, control.get("error", 0.0) + abs(1.0 - ratio), int(control.get("skipped", 0)) + 1)


@lru_cache(maxsize=64)
def resampled(ratios: tuple[float, ...], num_steps: int) -> tuple[float, ...]:
    """The nearest entry of a table for each of `num_steps` evaluations; both ends stay. Of one: the last."""
    if num_steps == 1:
        return ratios[-1:]
    scale = (len(ratios) - 1) / (num_steps - 1)
    return tuple(ratios[round(index * scale)] for index in range(num_steps))
