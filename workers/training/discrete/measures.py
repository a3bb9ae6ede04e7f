"""Distances between sets of samples, with bootstrap intervals over samples.

A set is an array of codes (N, m): row i holds what was counted in sample i (an n-gram, an interval), -1 for
nothing. Distances compare how often each code occurs in two sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Weights = NDArray[np.float64]
"""(N,): how many times each sample of a set counts."""


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval."""

    estimate: float
    low: float
    high: float

    def as_record(self) -> dict[str, float]:
        """For a report."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Distance:
    """The total variation distance between the codes of two sets, in [0, 1]."""

    left: Codes
    right: Codes

    def __call__(self, left: Weights, right: Weights) -> float:
        size = int(max(self.left.max(), self.right.max())) + 1
        shares = [
            _counts(codes, weights, size) for codes, weights in ((self.left, left), (self.right, right))
        ]
        return float(0.5 * np.abs(shares[0] - shares[1]).sum())


def _counts(codes: Codes, weights: Weights, size: int) -> NDArray[np.float64]:
    present = codes >= 0
    repeated = np.broadcast_to(weights[:, None], codes.shape)[present]
    counts = np.bincount(codes[present], repeated, minlength=size)
    return np.asarray(counts / counts.sum())


def compact(*sets: Codes) -> list[Codes]:
    """The same sets with codes renumbered from 0 without gaps, so that counting them stays cheap."""
    known = np.unique(np.concatenate([codes[codes >= 0] for codes in sets]))
    return [np.where(codes >= 0, np.searchsorted(known, codes), -1) for codes in sets]


def distance(left: Codes, right: Codes, *, draws: int, seed: int = 0) -> Interval:
    """The distance between two sets, and its interval over samples drawn anew from both.

    Source: Efron and Tibshirani 1993, chapter 13. Drawn anew, two sets are always farther apart than they
    are, so the drawn distances are moved to have the mean of the distance itself.
    """
    measure = Distance(*compact(left, right))
    rng = np.random.default_rng(seed)
    drawn = [measure(_draw(rng, len(left)), _draw(rng, len(right))) for _ in range(draws)]
    estimate = measure(np.ones(len(left)), np.ones(len(right)))
    low, high = np.quantile(drawn, (0.025, 0.975)) - np.mean(drawn)
    return Interval(estimate, max(0.0, float(estimate + low)), float(estimate + high))


def mean(values: NDArray[Any], *, draws: int, seed: int = 0) -> Interval:
    """The mean of a number a sample, and its interval."""
    return share(values, np.ones(len(values)), draws=draws, seed=seed)


def share(hits: NDArray[Any], cases: NDArray[Any], *, draws: int, seed: int = 0) -> Interval:
    """Hits over cases, both counted a sample, (N,) each, and its interval over samples."""
    rng = np.random.default_rng(seed)
    weights = np.stack([_draw(rng, len(hits)) for _ in range(draws)])
    drawn = (weights @ hits) / np.maximum(weights @ cases, 1e-12)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(float(np.sum(hits) / max(np.sum(cases), 1e-12)), float(low), float(high))


def _draw(rng: np.random.Generator, count: int) -> Weights:
    return np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64)


def ngrams(tokens: NDArray[Any], order: int, vocabulary: int) -> Codes:
    """All runs of `order` tokens in rows (N, n) as codes, (N, n - order + 1)."""
    windows = np.lib.stride_tricks.sliding_window_view(tokens.astype(np.int64), order, axis=1)
    powers = vocabulary ** np.arange(order - 1, -1, -1, dtype=np.int64)
    return np.asarray(windows @ powers)


def unigram_entropy(tokens: NDArray[Any], vocabulary: int) -> NDArray[np.float64]:
    """Entropy in nats of each row's own tokens, (N,): low for a text that repeats itself."""
    counts = np.stack([np.bincount(row, minlength=vocabulary) for row in tokens]).astype(np.float64)
    shares = counts / counts.sum(1, keepdims=True)
    entropies: NDArray[np.float64] = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)
    return entropies


def longest_copied(
    tokens: NDArray[Any],
    corpus: NDArray[Any],
    lengths: Sequence[int] = (8, 12, 16, 20, 24, 32, 48, 64, 96, 128),
) -> NDArray[np.int64]:
    """For each row (N, n) the largest of `lengths` of which a run stands in the corpus (m,), else 0."""
    longest = np.zeros(len(tokens), dtype=np.int64)
    for length in lengths:
        known = np.unique(_hashes(corpus[None], length))
        asked = _hashes(tokens, length)
        places = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        found = (known[places] == asked).any(1)
        longest[found] = length
        if not found.any():
            break
    return longest


def _hashes(tokens: NDArray[Any], length: int) -> NDArray[np.uint64]:
    """A 64-bit number for each run of `length` tokens of each row, doubling runs as far as they go."""
    base, wide = 0x9E3779B97F4A7C15, tokens.astype(np.uint64) + np.uint64(1)
    total: NDArray[np.uint64] | None = None
    part, part_length, done = wide, 1, 0
    places = wide.shape[1] - length + 1
    while part_length <= length:
        if length & part_length:
            piece = part[:, done : done + places]
            power = np.uint64(pow(base, part_length, 1 << 64))
            total = piece.copy() if total is None else total * power + piece
            done += part_length
        power = np.uint64(pow(base, part_length, 1 << 64))
        part = part[:, :-part_length] * power + part[:, part_length:]
        part_length *= 2
    assert total is not None
    return total


def compare(
    arms: dict[str, Codes], reference: Codes, *, draws: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Each arm's distance to the reference, as records."""
    return {
        name: distance(codes, reference, draws=draws, seed=seed).as_record() for name, codes in arms.items()
    }
