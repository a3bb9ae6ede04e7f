"""Notes of four voices on a grid of sixteenths, and the tokens they are written with.

A voice's token at a step is a pitch (a note begins), HOLD (what sounds goes on) or REST. A rest is written
out at each of its steps; HOLD where nothing sounds is read as a rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTS = ("Soprano", "Alto", "Tenor", "Bass")
STEPS_PER_QUARTER = 4
HOLD, REST = 0, 1
_FIRST_PITCH = 2

Tokens = NDArray[np.int64]
"""(voices, steps)."""


class NotationError(ValueError):
    """Music that does not fit the grid or the vocabulary; the message says where."""


@dataclass(frozen=True, order=True)
class Note:
    """`length` steps of MIDI pitch `pitch` from step `start` on, in voice `part` (0 is the soprano)."""

    part: int
    start: int
    length: int
    pitch: int

    @property
    def end(self) -> int:
        """The step after its last."""
        return self.start + self.length


@dataclass(frozen=True)
class PitchVocabulary:
    """HOLD, REST and the MIDI pitches from `lowest` to `highest`."""

    lowest: int
    highest: int

    @property
    def size(self) -> int:
        """Number of tokens."""
        return self.highest - self.lowest + 1 + _FIRST_PITCH

    def token(self, pitch: int) -> int:
        """The token of a note's beginning.

        Raises:
            NotationError: a pitch beyond the vocabulary.
        """
        if not self.lowest <= pitch <= self.highest:
            raise NotationError(f"pitch {pitch} is not within {self.lowest} to {self.highest}")
        return pitch - self.lowest + _FIRST_PITCH

    def pitches(self, tokens: NDArray[Any]) -> Tokens:
        """What sounds at each step, -1 for nothing: (..., steps), as the tokens."""
        tokens = np.asarray(tokens, dtype=np.int64)
        begun = np.where(tokens == HOLD, -1, np.arange(tokens.shape[-1]))
        latest = np.maximum.accumulate(begun, axis=-1)
        token = np.take_along_axis(tokens, np.maximum(latest, 0), axis=-1)
        silent = (latest < 0) | (token == REST)
        return np.where(silent, -1, token + self.lowest - _FIRST_PITCH)

    def notes(self, tokens: NDArray[Any]) -> list[Note]:
        """The notes that tokens (voices, steps) stand for, voice by voice."""
        sounding, found = self.pitches(tokens), []
        for part, row in enumerate(np.asarray(tokens)):
            starts = [step for step, token in enumerate(row) if token != HOLD]
            for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
                if row[start] != REST:
                    found.append(Note(part, start, end - start, int(sounding[part, start])))
        return found

    def tokens(self, notes: Sequence[Note], steps: int, parts: int = len(PARTS)) -> Tokens:
        """Tokens (parts, steps) of notes, rests where there are none; what lies beyond `steps` is cut.

        Raises:
            NotationError: two notes of a voice at once, or a pitch beyond the vocabulary.
        """
        grid = np.full((parts, steps), REST, dtype=np.int64)
        taken = np.zeros((parts, steps), dtype=bool)
        for note in sorted(notes):
            if note.start >= steps:
                continue
            here = slice(note.start, min(note.end, steps))
            if taken[note.part, here].any():
                raise NotationError(f"{PARTS[note.part]} has two notes at once at step {note.start}")
            taken[note.part, here] = True
            grid[note.part, here] = HOLD
            grid[note.part, note.start] = self.token(note.pitch)
        return grid
