"""How sure a figure is: bootstrap intervals over pairs, and non-inferiority of a share.

The unit that is drawn is the pair (caption, seed); two arms are always drawn with the same pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""(..., n) to (...): over the last axis."""

WORST_SHARE = 0.05
DRAWS = 10_000
_ELEMENTS_AT_ONCE = 4_000_000


def mean(values: Floats) -> Floats:
    """The mean over the last axis."""
    return np.asarray(values.mean(axis=-1))


def median(values: Floats) -> Floats:
    """The median over the last axis."""
    return np.asarray(np.median(values, axis=-1))


def tail_mean(values: Floats) -> Floats:
    """The mean of the worst (largest) 5 %, rounded up to whole values, over the last axis."""
    count = values.shape[-1]
    worst = math.ceil(WORST_SHARE * count)
    return np.asarray(np.partition(values, count - worst, axis=-1)[..., count - worst :].mean(axis=-1))


def percentile_99(values: Floats) -> Floats:
    """The 99th percentile over the last axis, linear between values."""
    return np.asarray(np.quantile(values, 0.99, axis=-1))


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its percentile interval."""

    estimate: float
    low: float
    high: float


def bootstrap(
    values: NDArray[Any],
    statistic: Statistic = mean,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic.

    Args:
        values: (n,), one a pair.
        statistic: e.g. `mean`, `tail_mean`, `percentile_99`.
        level: two-sided.
        draws: of n pairs with repeats.
        seed: of the draws.

    Raises:
        ValueError: values not one-dimensional, or none.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    given = _checked(values)
    drawn = _drawn([given], statistic, draws, seed)[0]
    return _interval(float(statistic(given)), drawn, level)


def ratio(
    values: NDArray[Any],
    baseline: NDArray[Any],
    statistic: Statistic = mean,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Percentile interval of statistic(values) / statistic(baseline), both over the same drawn pairs.

    Args:
        values, baseline: (n,), row i of both is the same pair.
        statistic, level, draws, seed: as in `bootstrap`.

    Raises:
        ValueError: not the same number of pairs, or none.
    """
    arms = [_checked(values), _checked(baseline)]
    if len(arms[0]) != len(arms[1]):
        raise ValueError(f"{len(arms[0])} pairs against {len(arms[1])}")
    ours, theirs = _drawn(arms, statistic, draws, seed)
    return _interval(float(statistic(arms[0]) / statistic(arms[1])), ours / theirs, level)


@dataclass(frozen=True)
class NonInferiority:
    """Whether a share is at most a margin below another's.

    Attributes:
        difference: share of the arm minus share of the reference.
        low: its one-sided lower bound.
        margin: what may be lost.
    """

    difference: float
    low: float
    margin: float

    @property
    def holds(self) -> bool:
        """Whether even the lower bound loses less than the margin."""
        return self.low > -self.margin


def non_inferiority(
    right: NDArray[Any], right_reference: NDArray[Any], *, margin: float = 0.01, level: float = 0.95
) -> NonInferiority:
    """Compare two shares over the same pairs.

    Args:
        right, right_reference: (n,) truth values: the judge read what the caption says.
        margin: as a share; .01 is one point.
        level: one-sided.

    Raises:
        ValueError: not the same number of pairs, or none.

    Source: Tango 1998, the score interval for paired proportions. Unlike a bootstrap it has a width even when
    no pair differs.
    """
    ours, theirs = _checked(right) > 0, _checked(right_reference) > 0
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} pairs against {len(theirs)}")
    won, lost, count = int((ours & ~theirs).sum()), int((theirs & ~ours).sum()), len(ours)
    difference = (won - lost) / count
    low = _lower_bound(won, lost, count, NormalDist().inv_cdf(level))
    return NonInferiority(difference, low, margin)


def _lower_bound(won: int, lost: int, count: int, deviates: float) -> float:
    """The difference at which the score statistic is just `deviates`, by bisection."""
    low, high = -1.0, (won - lost) / count
    for _ in range(60):
        middle = (low + high) / 2
        if _score(won, lost, count, middle) > deviates:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(won: int, lost: int, count: int, difference: float) -> float:
    """Distance of the observed from a supposed difference, in deviations under the supposition.

    The share of lost pairs is its most likely value given the difference: the root of a quadratic.
    """
    linear = -(won + lost) - difference * (won - lost - 2 * count)
    constant = -lost * difference * (1 - difference)
    lost_share = (-linear + math.sqrt(linear**2 - 8 * count * constant)) / (4 * count)
    variance = count * (2 * lost_share + difference - difference**2)
    distance = won - lost - count * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)


def _drawn(arms: list[Floats], statistic: Statistic, draws: int, seed: int) -> list[Floats]:
    """The statistic of every arm over the same draws; (draws,) each."""
    rng, count = np.random.default_rng(seed), len(arms[0])
    at_once = max(1, _ELEMENTS_AT_ONCE // count)
    parts: list[list[Floats]] = [[] for _ in arms]
    for start in range(0, draws, at_once):
        chosen = rng.integers(0, count, (min(at_once, draws - start), count))
        for part, values in zip(parts, arms, strict=True):
            part.append(statistic(values[chosen]))
    return [np.concatenate(part) for part in parts]


def _interval(estimate: float, drawn: Floats, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def _checked(values: NDArray[Any]) -> Floats:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or not len(given):
        raise ValueError(f"needs one value a pair, got shape {given.shape}")
    return given
