"""Standard MIDI files of up to four voices, read onto the grid. Gateways read what callers send."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import mido

from protocol.notes import PARTS, STEPS_PER_QUARTER, NotationError, Note

MAX_MIDI_BYTES = 1 << 15
"""Many times what four voices of a few bars take; more would hold a gateway up."""


def read_midi(data: bytes) -> list[Note]:
    """The notes of a MIDI file on the grid, rounded to the nearest sixteenth.

    Voices are the tracks that hold notes, in order, or the channels where one track holds all of them: the
    first is the soprano. Tempo and metre are not read.

    Raises:
        NotationError: too large, not a MIDI file, time in frames instead of beats, more than four voices.
    """
    if len(data) > MAX_MIDI_BYTES:
        raise NotationError(f"a MIDI file of {len(data)} bytes; at most {MAX_MIDI_BYTES}")
    try:
        file = mido.MidiFile(file=io.BytesIO(data))
    except Exception as error:  # broken files make mido raise whatever it stumbles over
        raise NotationError("not a MIDI file, or a broken one") from error
    if not 0 < file.ticks_per_beat < 1 << 15:
        raise NotationError("a MIDI file that counts frames, not beats")
    voices = _voices(file)
    if len(voices) > len(PARTS):
        raise NotationError(f"{len(voices)} voices; at most {len(PARTS)}")
    ticks = file.ticks_per_beat / STEPS_PER_QUARTER
    return sorted(note for part, messages in enumerate(voices) for note in _notes(part, messages, ticks))


def _voices(file: Any) -> list[list[tuple[int, Any]]]:
    """Note messages with their absolute ticks, voice by voice."""
    tracks = []
    for track in file.tracks:
        now, messages = 0, []
        for message in track:
            now += message.time
            if message.type in ("note_on", "note_off"):
                messages.append((now, message))
        if messages:
            tracks.append(messages)
    if len(tracks) != 1:
        return tracks
    channels = sorted({message.channel for _, message in tracks[0]})
    return [[each for each in tracks[0] if each[1].channel == channel] for channel in channels]


def _notes(part: int, messages: Sequence[tuple[int, Any]], ticks_per_step: float) -> list[Note]:
    """Pair beginnings with ends. A note shorter than half a step has one; an end without a note is none."""
    begun: dict[int, int] = {}
    found = []
    for now, message in messages:
        step = round(now / ticks_per_step)
        started = begun.pop(message.note, None)
        if started is not None:
            found.append(Note(part, started, max(1, step - started), message.note))
        if message.type == "note_on" and message.velocity > 0:
            begun[message.note] = step
    return found
