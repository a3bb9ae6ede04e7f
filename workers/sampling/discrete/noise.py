"""Total noise as a function of time in [0, 1], and its rate.

Source: Lou et al. 2024 (SEDD, arXiv:2310.16834), section 5; Sahoo et al. 2024 for the log-linear one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Noise(Protocol):
    """A schedule: what a checkpoint was trained under."""

    def sigma(self, time: float) -> float:
        """Total noise at `time`, rising."""
        ...

    def rate(self, time: float) -> float:
        """d sigma / d time."""
        ...


@dataclass(frozen=True, slots=True)
class Geometric:
    """sigma = sigma_min^(1 - t) sigma_max^t. SEDD-uniform's.

    Args:
        sigma_min, sigma_max: at the times 0 and 1.
    """

    sigma_min: float = 1e-4
    sigma_max: float = 20.0

    def sigma(self, time: float) -> float:
        return float(self.sigma_min ** (1 - time) * self.sigma_max**time)

    def rate(self, time: float) -> float:
        return self.sigma(time) * math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True, slots=True)
class LogLinear:
    """sigma = -log(1 - (1 - eps) t): the share of tokens kept falls evenly.

    Args:
        eps: the share still kept at time 1.
    """

    eps: float = 1e-3

    def sigma(self, time: float) -> float:
        return -math.log1p(-(1 - self.eps) * time)

    def rate(self, time: float) -> float:
        return (1 - self.eps) / (1 - (1 - self.eps) * time)
