"""Four voices as a standard MIDI file; they are read by `protocol.midi`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import mido

from protocol.notes import PARTS, STEPS_PER_QUARTER, Note

DEFAULT_TEMPO = 80
_TICKS_PER_STEP = 120
_VELOCITY = 80
_CHOIR = 52


def write_midi(notes: Sequence[Note], steps: int, tempo: int = DEFAULT_TEMPO) -> bytes:
    """A MIDI file of type 1: a track for the tempo (quarters a minute), then one a voice.

    Args:
        notes: of all voices.
        steps: how long the piece is; each track ends there.
        tempo: quarters a minute.
    """
    file = mido.MidiFile(type=1, ticks_per_beat=_TICKS_PER_STEP * STEPS_PER_QUARTER)
    conductor = mido.MidiTrack()
    conductor.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    conductor.append(mido.MetaMessage("time_signature", numerator=4, denominator=4))
    file.tracks.append(conductor)
    for part, name in enumerate(PARTS):
        file.tracks.append(_track(part, name, [note for note in notes if note.part == part], steps))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _track(part: int, name: str, notes: Sequence[Note], steps: int) -> Any:
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("track_name", name=name))
    track.append(mido.Message("program_change", channel=part, program=_CHOIR))
    # A note that ends comes before one that begins at the same step.
    changes = sorted(
        [(note.start, 1, note.pitch) for note in notes] + [(note.end, 0, note.pitch) for note in notes]
    )
    now = 0
    for step, begins, pitch in changes:
        kind, velocity = ("note_on", _VELOCITY) if begins else ("note_off", 0)
        ticks = (step - now) * _TICKS_PER_STEP
        track.append(mido.Message(kind, channel=part, note=pitch, velocity=velocity, time=ticks))
        now = step
    track.append(mido.MetaMessage("end_of_track", time=max(0, steps - now) * _TICKS_PER_STEP))
    return track
