"""How near generated chorales are to held-out ones: histograms, chords, voice leading, copying."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.music import PARTS, STEPS_PER_QUARTER
from workers.training.chorales import STEPS
from workers.training.discrete.chorale_corpus import VOCABULARY
from workers.training.discrete.measures import Codes, compare, mean, share

_CHORDS = (
    (0, 4, 7),
    (0, 3, 7),
    (0, 3, 6),
    (0, 4, 7, 10),
    (0, 3, 7, 10),
    (0, 4, 7, 11),
    (0, 3, 6, 10),
    (0, 3, 6, 9),
)
"""Triads (major, minor, diminished) and sevenths (dominant, minor, major, half and fully diminished)."""
_FIFTH = 7
_WIDEST_LEAP = 12
_PAIRS = tuple(combinations(range(len(PARTS)), 2))
_CHUNK = 40


def chorale_figures(
    arms: dict[str, NDArray[Any]], reference: NDArray[Any], trained_on: NDArray[Any], *, draws: int
) -> dict[str, Any]:
    """Figures with 95 % intervals.

    Distances to the reference, whose floor is the arm of real chorales: pitch_class (of what sounds at each
    step), leap (semitones from note to note of a voice), interval (between two voices at each step, mod 12).
    Shares: chord (quarters at which the voices sound a triad or a seventh chord), parallel (moves of two
    voices, both by leaps the same way, that keep a fifth or an octave), crossing (steps at which a voice is
    above its upper neighbour). nearest: share of the grid, transposed as fits best, that one training window
    has as well.

    Args:
        arms: tokens (N, 4, 64) by name.
        reference: held-out tokens.
        trained_on: all training windows (M, 4, 64), in their own keys.
        draws: of the bootstrap.
    """
    sounding = {name: _sounding(tokens) for name, tokens in {**arms, "reference": reference}.items()}
    report: dict[str, Any] = {}
    for figure, codes_of in (("pitch_class", _pitch_classes), ("leap", _leaps), ("interval", _intervals)):
        codes = {name: codes_of(each) for name, each in sounding.items()}
        against = codes.pop("reference")
        report[figure] = compare(codes, against, draws=draws)
    for figure, counts_of in (("chord", _chords), ("parallel", _parallels), ("crossing", _crossings)):
        report[figure] = {
            name: share(*counts_of(each), draws=draws).as_record() for name, each in sounding.items()
        }
    known = _sounding(trained_on)
    report["nearest"] = {
        name: mean(nearest(each, known), draws=draws).as_record() for name, each in sounding.items()
    }
    return report


def _sounding(tokens: NDArray[Any]) -> NDArray[np.int64]:
    """Pitches (N, 4, 64) that sound at each step, -1 for none."""
    rows = VOCABULARY.pitches(tokens.reshape(-1, STEPS))
    return rows.reshape(-1, len(PARTS), STEPS)


def _pitch_classes(sounding: NDArray[np.int64]) -> Codes:
    flat = sounding.reshape(len(sounding), -1)
    return np.where(flat >= 0, flat % 12, -1)


def _leaps(sounding: NDArray[np.int64]) -> Codes:
    before, after = sounding[..., :-1], sounding[..., 1:]
    leap = np.clip(after - before, -_WIDEST_LEAP, _WIDEST_LEAP) + _WIDEST_LEAP
    counted = (before >= 0) & (after >= 0) & (before != after)
    return np.where(counted, leap, -1).reshape(len(sounding), -1)


def _intervals(sounding: NDArray[np.int64]) -> Codes:
    """The interval of each pair of voices; which pair it is counts as well."""
    columns = []
    for place, (upper, lower) in enumerate(_PAIRS):
        both = (sounding[:, upper] >= 0) & (sounding[:, lower] >= 0)
        interval = (sounding[:, upper] - sounding[:, lower]) % 12
        columns.append(np.where(both, 12 * place + interval, -1))
    return np.concatenate(columns, axis=1)


def _chords(sounding: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Quarters at which four voices sound, and those of them that are chords, a sample."""
    quarters = sounding[..., ::STEPS_PER_QUARTER]
    whole = (quarters >= 0).all(1)
    classes = np.bitwise_or.reduce(1 << (quarters % 12), axis=1)
    return (np.isin(classes, _chord_sets()) & whole).sum(1), whole.sum(1)


def _chord_sets() -> list[int]:
    """Pitch-class sets as bits; the fifth of a triad may be missing."""
    shapes = [*_CHORDS, (0, 4), (0, 3)]
    return [sum(1 << (root + tone) % 12 for tone in shape) for shape in shapes for root in range(12)]


def _parallels(sounding: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Parallel fifths and octaves, and moves of two voices at once, a sample."""
    parallel = np.zeros(len(sounding), dtype=np.int64)
    moves = np.zeros(len(sounding), dtype=np.int64)
    for upper, lower in _PAIRS:
        high, low = sounding[:, upper], sounding[:, lower]
        steps = np.diff(high), np.diff(low)
        present = (high >= 0) & (low >= 0)
        moved = (steps[0] != 0) & (steps[1] != 0) & present[:, :-1] & present[:, 1:]
        interval = (high - low) % 12
        perfect = np.isin(interval, (0, _FIFTH))
        kept = (
            perfect[:, :-1] & (interval[:, :-1] == interval[:, 1:]) & (np.sign(steps[0]) == np.sign(steps[1]))
        )
        parallel += (moved & kept).sum(1)
        moves += moved.sum(1)
    return parallel, moves


def _crossings(sounding: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    high, low = sounding[:, :-1], sounding[:, 1:]
    both = (high >= 0) & (low >= 0)
    return (both & (low > high)).any(1).sum(1), both.any(1).sum(1)


def nearest(sounding: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """For each sample (N, 4, 64), moved as fits best, the largest share of cells a known window has too."""
    table, best = _one_hot(known), np.zeros(len(sounding))
    shifts = np.arange(-12, 13)[:, None, None, None]
    for start in range(0, len(sounding), _CHUNK):
        rows = sounding[start : start + _CHUNK]
        moved = np.where(rows >= 0, rows + shifts, rows)
        equal = (_one_hot(moved.reshape(-1, len(PARTS), STEPS)) @ table.T).amax(1)
        best[start : start + _CHUNK] = equal.view(len(shifts), -1).amax(0) / (len(PARTS) * STEPS)
    return best


def _one_hot(sounding: NDArray[np.int64]) -> torch.Tensor:
    """(N, 256 x 48), float32: the pitch or rest of each cell; a pitch beyond the vocabulary equals none."""
    code = np.where(sounding < 0, 0, sounding - VOCABULARY.lowest + 2)
    inside = torch.from_numpy(((code >= 0) & (code < VOCABULARY.size)).astype(np.float32)).flatten(1)
    places = torch.from_numpy(np.clip(code, 0, VOCABULARY.size - 1)).flatten(1)
    hot = torch.zeros(*places.shape, VOCABULARY.size)
    return hot.scatter_(2, places[..., None], inside[..., None]).flatten(1)
