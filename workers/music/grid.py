"""Tokens of four voices as arrays, and what sounds at each step. The notation stands in `protocol.notes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.notes import FIRST_PITCH, HOLD, PARTS, REST, Note, notes_of, token_of, tokens_of

Tokens = NDArray[np.int64]
"""(voices, steps)."""


@dataclass(frozen=True)
class PitchVocabulary:
    """HOLD, REST and the MIDI pitches from `lowest` to `highest`."""

    lowest: int
    highest: int

    @property
    def size(self) -> int:
        """Number of tokens."""
        return self.highest - self.lowest + 1 + FIRST_PITCH

    def token(self, pitch: int) -> int:
        """The token of a note's beginning.

        Raises:
            NotationError: a pitch beyond the vocabulary.
        """
        return token_of(pitch, self.lowest, self.highest)

    def pitches(self, tokens: NDArray[Any]) -> Tokens:
        """What sounds at each step, -1 for nothing: (..., steps), as the tokens."""
        tokens = np.asarray(tokens, dtype=np.int64)
        begun = np.where(tokens == HOLD, -1, np.arange(tokens.shape[-1]))
        latest = np.maximum.accumulate(begun, axis=-1)
        token = np.take_along_axis(tokens, np.maximum(latest, 0), axis=-1)
        silent = (latest < 0) | (token == REST)
        return np.where(silent, -1, token + self.lowest - FIRST_PITCH)

    def notes(self, tokens: NDArray[Any]) -> list[Note]:
        """The notes that tokens (voices, steps) stand for, voice by voice."""
        return notes_of(np.asarray(tokens).tolist(), self.lowest)

    def tokens(self, notes: Sequence[Note], steps: int, parts: int = len(PARTS)) -> Tokens:
        """Tokens (parts, steps) of notes, rests where there are none; what lies beyond `steps` is cut.

        Raises:
            NotationError: two notes of a voice at once, or a pitch beyond the vocabulary.
        """
        return np.array(tokens_of(notes, self.lowest, self.highest, steps, parts), dtype=np.int64)
