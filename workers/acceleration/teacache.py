"""TeaCache: a cheap look at the first block's input tells when the output has moved too far."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from protocol.calibration import Calibration
from workers.acceleration.anchored import MethodConfig
from workers.acceleration.residual import ResidualCache, lanes, ratios, relative_l1, table
from workers.core import Hidden, Kept, Layout, Row, Sample, Stream, Verdict

FLUX_POLYNOMIAL = (498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861)
"""Highest power first; fitted on FLUX.1-dev by the method's authors."""


class TeaCacheConfig(MethodConfig):
    """How much change may add up.

    Args:
        threshold: an evaluation is cheap while the estimated change since the last full one is below it; 0
            is never. Default 0.25. On FLUX.1-dev .25 / .4 / .6 / .8 are about 1.5 / 1.8 / 2 / 2.25 times
            faster, by the authors; larger is cheaper and drifts further.
    """

    threshold: float = Field(default=0.25, ge=0.0)


class TeaCache(ResidualCache[TeaCacheConfig]):
    """Adds up the estimated change of the output, a polynomial of the first block's modulated input's change.

    The change is that from the evaluation before, full or not; first and last evaluations are full. A guided
    sample decides by its conditional lane.

    `at` leaves the signal and the new sum on the sample as "present" and "pending"; it reads neither, so that
    asking again gives the same. `end` makes them the ones to compare with.

    Source: Liu et al. 2024, "Timestep Embedding Tells: It's Time to Cache", eqs. 4-7; public code for FLUX.
    """

    config_type = TeaCacheConfig
    wants_signal = True

    def __init__(self, layout: Layout, calibration: Calibration | None = None) -> None:
        super().__init__(layout, calibration)
        self._polynomial = table(calibration, "teacache", "polynomial", FLUX_POLYNOMIAL)

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        assert stream.signal is not None, "wants_signal has the network make it"
        for row in rows:
            row.sample.memory["present"] = stream.signal[row.lanes.start].clone()
        samples = [row.sample for row in rows if "previous" in row.sample.memory]
        sums = [relative_l1(item.memory["present"], item.memory["previous"]) for item in samples]
        changes = ratios(sums, self._layout.ranks)
        by_key = {sample.key: change for sample, change in zip(samples, changes, strict=True)}
        return [self._answer(row.sample, lanes(row, stream), by_key.get(row.sample.key, 0.0)) for row in rows]

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        for row, cuts in zip(rows, kept, strict=True):
            memory, control = row.sample.memory, row.sample.control
            if "present" in memory:
                memory["previous"] = memory.pop("present")
                pending = control.pop("pending")
                control["change"] = 0.0 if self.anchors_here(row.sample, cuts) else pending
        return super().end(rows, outputs, kept)

    def _answer(self, sample: Sample, hidden: Hidden, change: float) -> Verdict:
        threshold = self.config(sample).threshold
        total = sample.control.get("change", 0.0) + self._estimate(change)
        sample.control["pending"] = total
        if not sample.anchors:
            return self.run_on(sample, hidden, "warmup")
        if sample.evaluation == self.num_steps(sample) - 1:
            return self.run_on(sample, hidden, "schedule")
        if threshold > 0.0 and total < threshold:
            return self.reuse(sample, hidden, "calm", risk=total, threshold=threshold)
        return self.run_on(sample, hidden, "risk", risk=total, threshold=threshold)

    def _estimate(self, change: float) -> float:
        """The polynomial, by Horner's rule."""
        total = 0.0
        for coefficient in self._polynomial:
            total = total * change + coefficient
        return total
