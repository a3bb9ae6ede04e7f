"""FORA: full at fixed intervals, and between them what was computed last."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from workers.acceleration.anchored import AnchoredCache, MethodConfig
from workers.core import Emit, Go, Row, Sample


class ForaConfig(MethodConfig):
    """How often to evaluate.

    Args:
        interval: evaluations 0, interval, 2 interval, ... are full; 1 is all of them. Default 4. Larger is
            cheaper and drifts further.
    """

    interval: int = Field(default=4, ge=1)


class Fora(AnchoredCache[ForaConfig]):
    """Reuses the network's output; the paper reuses each module's.

    Source: Selvaraju et al. 2024, "FORA: Fast-Forward Caching in Diffusion Transformer Acceleration".
    """

    config_type = ForaConfig
    num_anchors = 1

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        return [self._answer(row.sample) for row in rows]

    def _answer(self, sample: Sample) -> Go | Emit:
        if sample.evaluation % self.config(sample).interval == 0:
            return self.full(sample, "schedule")
        return self.forecast(sample, "schedule")
