"""How fast this worker computes each model: measured on its own turns, smoothed."""

from __future__ import annotations

_WEIGHT = 0.1
"""Of the newest measurement; about the last ten count."""


class Speedometer:
    """TFLOPs a second of denoiser work, by model."""

    def __init__(self) -> None:
        self._tflops_per_second: dict[str, float] = {}

    def add(self, model: str, tflops: float, seconds: float) -> float | None:
        """Take a measurement in; its seconds over those expected before it, None if nothing was expected."""
        if seconds <= 0 or tflops <= 0:
            return None
        speed = tflops / seconds
        before = self._tflops_per_second.get(model)
        self._tflops_per_second[model] = speed if before is None else before + _WEIGHT * (speed - before)
        return None if before is None else before / speed

    def of(self, model: str) -> float:
        """The model's speed, 0 before the first measurement."""
        return self._tflops_per_second.get(model, 0.0)

    def slowest(self) -> float:
        """The lowest speed measured, 0 before the first measurement."""
        return min(self._tflops_per_second.values(), default=0.0)
