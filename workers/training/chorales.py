"""Four bars of a four-part Bach chorale on a grid of sixteenths, 4 x 64 tokens.

A chorale is in one split whole, and with all others whose soprano shares thirteen notes in a row with it, so
no melody is in two splits. After that it is cut into windows that begin at bar lines and moved to every key
in which each voice stays within its range.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protocol.notes import HOLD, REST
from protocol.vocabularies import ChoraleVocabulary
from workers.music import Note
from workers.music.grid import Tokens
from workers.training.discrete.chorale_corpus import VOCABULARY, Piece, read_corpus

STEPS = 64
CHORALE_VOCABULARY = ChoraleVocabulary(lowest=VOCABULARY.lowest, highest=VOCABULARY.highest, steps=STEPS)
CORPUS_PATH = Path(__file__).parent / "corpora" / "chorales.npz"
RANGES = ((57, 81), (53, 74), (48, 69), (36, 64))
"""Lowest and highest pitch of each voice in all chorales, soprano first."""

_NEVER = 999
"""A pitch no voice has, for steps without one."""

Split = Literal["train", "calibration", "heldout"]
SPLIT_PERCENT: dict[Split, range] = {
    "heldout": range(20),
    "calibration": range(20, 30),
    "train": range(30, 100),
}


@dataclass(frozen=True)
class Chorale:
    """Four bars.

    Attributes:
        name: of the piece, "bwv253".
        start: step of the piece at which the first bar begins.
        shift: semitones it was moved by.
        tokens: (4, 64), soprano first.
    """

    name: str
    start: int
    shift: int
    tokens: Tokens

    @property
    def notes(self) -> list[Note]:
        """Its notes, voice by voice."""
        return VOCABULARY.notes(self.tokens)


@dataclass(frozen=True)
class Windows:
    """All windows of a split: tokens (N, 4, 64), uint8; the lowest and highest shift of each (N, 2)."""

    names: tuple[str, ...]
    starts: tuple[int, ...]
    tokens: NDArray[np.uint8]
    shifts: NDArray[np.int64]

    def shifted(self, rows: NDArray[np.int64], shifts: NDArray[np.int64]) -> Tokens:
        """Windows moved by semitones, (len(rows), 4, 64)."""
        tokens = self.tokens[rows].astype(np.int64)
        moved = tokens + shifts[:, None, None]
        return np.where((tokens == HOLD) | (tokens == REST), tokens, moved)


@cache
def load_windows(split: Split) -> Windows:
    """The windows of a split, in the order of the corpus."""
    pieces, groups = read_corpus(CORPUS_PATH)
    mine = [
        piece for piece, group in zip(pieces, groups, strict=True) if split_of(pieces[group].name) == split
    ]
    cuts = [
        (piece.name, start, window)
        for piece in mine
        for start, window in zip(starts_of(piece), windows_of(piece), strict=True)
    ]
    tokens = np.stack([window for _, _, window in cuts])
    return Windows(
        names=tuple(name for name, _, _ in cuts),
        starts=tuple(start for _, start, _ in cuts),
        tokens=tokens.astype(np.uint8),
        shifts=allowed_shifts(tokens),
    )


@cache
def split_of(name: str) -> Split:
    """The split of the group with this first piece: 20 % held out, 10 % calibration, 70 % training."""
    percent = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % 100
    return next(split for split, percents in SPLIT_PERCENT.items() if percent in percents)


def starts_of(piece: Piece) -> list[int]:
    """Bar lines that 64 whole steps follow."""
    return [bar for bar in piece.bars if bar + STEPS <= piece.tokens.shape[1]]


def windows_of(piece: Piece) -> list[Tokens]:
    """The 64 steps from each of these bar lines on; what sounds on into them begins anew."""
    sounding, windows = VOCABULARY.pitches(piece.tokens), []
    for start in starts_of(piece):
        window = piece.tokens[:, start : start + STEPS].copy()
        for part, pitch in enumerate(sounding[:, start].tolist()):
            if window[part, 0] == HOLD:
                window[part, 0] = VOCABULARY.token(pitch) if pitch >= 0 else REST
        windows.append(window)
    return windows


def allowed_shifts(tokens: Tokens) -> NDArray[np.int64]:
    """The semitones each window (N, 4, 64) may be moved by, lowest and highest (N, 2), so that voices stay
    within their ranges; an octave at most."""
    sounding = VOCABULARY.pitches(tokens)
    lowest, highest = (np.array(ends) for ends in zip(*RANGES, strict=True))
    down = lowest - np.where(sounding < 0, _NEVER, sounding).min(2)
    up = highest - sounding.max(2)
    return np.stack([np.clip(down.max(1), -12, 0), np.clip(up.min(1), 0, 12)], axis=1)


def sample_chorales(n: int, seed: int, split: Split = "train") -> list[Chorale]:
    """Draw windows of one split in any key they allow; the same (n, seed, split) gives the same everywhere.

    Args:
        n: how many; a longer draw starts with the shorter one.
        seed: any integer; splits of one seed are independent draws.
        split: "train", "calibration" or "heldout".
    """
    rng, windows = random.Random(f"{split}-{seed}"), load_windows(split)
    drawn = []
    for _ in range(n):
        row = rng.randrange(len(windows.tokens))
        shift = rng.randint(*windows.shifts[row].tolist())
        (tokens,) = windows.shifted(np.array([row]), np.array([shift]))
        drawn.append(Chorale(windows.names[row], windows.starts[row], shift, tokens))
    return drawn
