"""Notes of four voices on a grid of sixteenths, and the tokens they are written with.

A voice's token at a step is a pitch (a note begins), HOLD (what sounds goes on) or REST. A rest is written
out at each of its steps; HOLD where nothing sounds is read as a rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MIDI_TYPE = "audio/midi"
PARTS = ("Soprano", "Alto", "Tenor", "Bass")
STEPS_PER_QUARTER = 4
STEPS_PER_BAR = 4 * STEPS_PER_QUARTER
"""Of 4/4."""
HOLD, REST = 0, 1
FIRST_PITCH = 2
"""The token of the lowest pitch."""


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


def token_of(pitch: int, lowest: int, highest: int) -> int:
    """The token of a note's beginning.

    Raises:
        NotationError: a pitch beyond the vocabulary.
    """
    if not lowest <= pitch <= highest:
        raise NotationError(f"pitch {pitch} is not within {lowest} to {highest}")
    return pitch - lowest + FIRST_PITCH


def tokens_of(
    notes: Sequence[Note], lowest: int, highest: int, steps: int, parts: int = len(PARTS)
) -> list[list[int]]:
    """Tokens of notes, a list a voice, rests where there are none; what lies beyond `steps` is cut.

    Raises:
        NotationError: two notes of a voice at once, or a pitch beyond the vocabulary.
    """
    grid: list[list[int | None]] = [[None] * steps for _ in range(parts)]
    for note in sorted(notes):
        for step in range(note.start, min(note.end, steps)):
            if grid[note.part][step] is not None:
                raise NotationError(f"{PARTS[note.part]} has two notes at once at step {note.start}")
            begins = step == note.start
            grid[note.part][step] = token_of(note.pitch, lowest, highest) if begins else HOLD
    return [[REST if token is None else token for token in row] for row in grid]


def notes_of(tokens: Sequence[Sequence[int]], lowest: int) -> list[Note]:
    """The notes that tokens, a list a voice, stand for, voice by voice."""
    return [note for part, row in enumerate(tokens) for note in _voice(part, row, lowest)]


def _voice(part: int, row: Sequence[int], lowest: int) -> Iterator[Note]:
    starts = [step for step, token in enumerate(row) if token != HOLD]
    for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
        if row[start] != REST:
            yield Note(part, start, end - start, row[start] + lowest - FIRST_PITCH)
