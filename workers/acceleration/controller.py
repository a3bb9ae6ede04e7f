"""SoftCap's soft-budget controller: from full steps spent against a reference curve to a threshold.

All of it is host arithmetic on immutable values. A cache asks `step` once a decision, keeps the state it
returns, and compares its risk with the threshold. `Guards` holds the full evaluations no threshold decides.

Source: Zhang et al. 2026 (SoftCap, arXiv:2605.27075), eqs. 13 to 17.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class PiSettings:
    """The gains and limits of one run.

    Args:
        tau_0: threshold when spending is on the curve; higher means fewer full steps.
        k_p, k_i: rise of the threshold for each full step too many, now and accumulated; both 0: fixed.
        integral_min, integral_max: the only guard against wind-up.
        tau_min, tau_max: limits of the threshold; both 0: every step is full, both above 1: none by risk.

    Raises:
        ValueError: an upper limit is below its lower one.
    """

    tau_0: float
    k_p: float
    k_i: float
    integral_min: float
    integral_max: float
    tau_min: float
    tau_max: float

    def __post_init__(self) -> None:
        for name in ("integral", "tau"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise ValueError(f"{name}_min {low:g} is above {name}_max {high:g}")


class PiState(NamedTuple):
    """What the controller remembers between two decisions."""

    integral: float = 0.0


def step(
    settings: PiSettings, state: PiState, spent: float, reference: float, *, hold: bool = False
) -> tuple[PiState, float]:
    """One decision's threshold (eqs. 14 to 16), and the state for the next one.

    Args:
        settings: of the run.
        state: after the decision before.
        spent: full steps before this decision.
        reference: full steps the curve allows by now, `ReferenceCurve.at(k / T) * N_cap`.
        hold: leave the integral alone (warm-up, where spending is not the controller's doing).
    """
    error = spent - reference
    if not hold:
        wanted = state.integral + error
        state = PiState(min(max(wanted, settings.integral_min), settings.integral_max))
    threshold = settings.tau_0 + settings.k_p * error + settings.k_i * state.integral
    return state, min(max(threshold, settings.tau_min), settings.tau_max)


@dataclass(frozen=True, slots=True)
class ReferenceCurve:
    """C(t), eq. 13: which share of its full steps a run should have spent at which share of its steps.

    Args:
        points: at evenly spaced progress from 0 (before the first step: 0) to 1, never falling, in [0, 1].

    Raises:
        ValueError: the points are no such curve.
    """

    points: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        rising = all(left <= right for left, right in pairwise(self.points))
        if len(self.points) < 2 or self.points[0] != 0.0 or not rising or self.points[-1] > 1.0:
            raise ValueError("a reference curve starts at 0, never falls and ends at 1 or below")

    def at(self, progress: float) -> float:
        """C at a progress in [0, 1], between two points on the line through them."""
        place = min(max(progress, 0.0), 1.0) * (len(self.points) - 1)
        left = min(int(place), len(self.points) - 2)
        return self.points[left] + (place - left) * (self.points[left + 1] - self.points[left])


@dataclass(frozen=True, slots=True)
class Guards:
    """The full evaluations a run makes whatever the risk: the first ones, and one after the longest skip.

    Args:
        warmup: how many evaluations are full at the start.
        max_skip: an evaluation this far from the last full one is full itself, at least 1.
        num_steps: evaluations of the run.
    """

    warmup: int
    max_skip: int
    num_steps: int

    def within(self, payable: int) -> Guards:
        """The same, with the warm-up cut and the skip widened so that `payable` full ones are enough.

        Args:
            payable: at least 1.
        """
        warmup = min(self.warmup, payable - 1)
        widened = math.ceil((self.num_steps - warmup) / (payable - warmup))
        return replace(self, warmup=warmup, max_skip=max(self.max_skip, widened))

    def reason(self, index: int, anchor: int | None) -> str | None:
        """Why evaluation `index` must be full, the last full one being `anchor`; None: nothing forces it."""
        if anchor is None or index < self.warmup:
            return "warmup"
        return "max_skip" if index - anchor >= self.max_skip else None

    def owed(self, index: int) -> int:
        """How many full evaluations are still forced after a full one at `index`."""
        last = max(index, self.warmup - 1)
        return last - index + (self.num_steps - 1 - last) // self.max_skip
