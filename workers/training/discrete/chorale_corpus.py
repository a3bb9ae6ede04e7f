"""Cut Bach's four-part chorales out of the music21 package, once, into one small file that the clone carries.

A fresh clone already has it (`workers/training/corpora/chorales.npz`), so music21 is only needed to make it
again. Pieces with other than four voices, or with chords inside a voice, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.music import PARTS, STEPS_PER_QUARTER, Note, PitchVocabulary
from workers.music.grid import Tokens

VOCABULARY = PitchVocabulary(36, 81)
"""The pitches of all chorales: HOLD, REST and 46 pitches, 48 tokens."""
MELODY_NOTES = 13
"""Two chorales whose sopranos share so many notes in a row, repeats and key apart, are one group."""


@dataclass(frozen=True)
class Piece:
    """A chorale.

    Attributes:
        name: "bwv253".
        tokens: (4, steps), soprano first.
        bars: steps at which bars begin, the one after a pick-up first.
    """

    name: str
    tokens: Tokens
    bars: tuple[int, ...]


def build_corpus(path: Path) -> None:
    """Parse music21's chorales and write them, with the group of each."""
    from music21 import corpus

    names = corpus.chorales.Iterator(numberingSystem="bwv", returnType="filename")
    pieces = [piece for name in names if (piece := _parse(str(name))) is not None]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        names=np.array([piece.name for piece in pieces]),
        groups=np.array(groups_of([melody(piece.tokens) for piece in pieces]), dtype=np.int16),
        lengths=np.array([piece.tokens.shape[1] for piece in pieces], dtype=np.int16),
        tokens=np.concatenate([piece.tokens for piece in pieces], axis=1).astype(np.uint8),
        bar_counts=np.array([len(piece.bars) for piece in pieces], dtype=np.int16),
        bars=np.concatenate([piece.bars for piece in pieces]).astype(np.int16),
    )


def read_corpus(path: Path) -> tuple[list[Piece], list[int]]:
    """The pieces of a file, and the group of each: the place of its first member."""
    with np.load(path) as content:
        ends = np.cumsum(content["lengths"])[:-1]
        tokens = np.split(content["tokens"].astype(np.int64), ends, axis=1)
        bars = np.split(content["bars"].astype(int), np.cumsum(content["bar_counts"])[:-1])
        names, groups = content["names"].tolist(), content["groups"].tolist()
    pieces = [
        Piece(name, grid, tuple(starts.tolist()))
        for name, grid, starts in zip(names, tokens, bars, strict=True)
    ]
    return pieces, groups


def melody(tokens: NDArray[Any]) -> tuple[int, ...]:
    """The soprano's steps from note to note, in semitones; repeated notes count once."""
    pitches = [note.pitch for note in VOCABULARY.notes(tokens[:1])]
    steps = np.diff(pitches)
    return tuple(int(step) for step in steps if step)


def groups_of(melodies: Sequence[tuple[int, ...]], notes: int = MELODY_NOTES) -> list[int]:
    """For each melody the place of the first one it is tied to by runs of `notes` notes they share."""
    root = list(range(len(melodies)))

    def find(place: int) -> int:
        while root[place] != place:
            place = root[place]
        return place

    seen: dict[tuple[int, ...], int] = {}
    for place, steps in enumerate(melodies):
        for start in range(len(steps) - notes + 2):
            first = find(seen.setdefault(steps[start : start + notes - 1], place))
            own = find(place)
            root[max(first, own)] = min(first, own)
    return [find(place) for place in range(len(melodies))]


def _parse(name: str) -> Piece | None:
    from music21 import corpus

    score = corpus.parse(name, forceSource=True)
    if len(score.parts) != len(PARTS):
        return None
    notes = [note for part, voice in enumerate(score.parts) for note in _notes(part, voice)]
    if any(note.pitch < 0 for note in notes):
        return None
    steps = max(note.end for note in notes)
    measures = score.parts[0].getElementsByClass("Measure")
    bars = tuple(_step(measure.offset) for measure in measures if measure.number)  # 0 is a pick-up
    return Piece(name.rpartition("/")[2], VOCABULARY.tokens(notes, steps), bars)


def _notes(part: int, voice: Any) -> list[Note]:
    """A voice's notes, tied ones joined; a chord has pitch -1."""
    found: list[Note] = []
    for element in voice.flatten().notes:
        if not element.quarterLength:  # a grace note
            continue
        start, end = _step(element.offset), _step(element.offset + element.quarterLength)
        pitch = element.pitch.midi if element.isNote else -1
        tied = element.tie is not None and element.tie.type in ("stop", "continue")
        if tied and found and found[-1].pitch == pitch and found[-1].end == start:
            start = found.pop().start
        if end > start:
            found.append(Note(part, start, end - start, pitch))
    return found


def _step(quarters: Any) -> int:
    return round(float(quarters) * STEPS_PER_QUARTER)
