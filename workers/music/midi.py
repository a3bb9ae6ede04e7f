"""Standard MIDI files of four voices, in and out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import mido

from workers.music.grid import PARTS, STEPS_PER_QUARTER, NotationError, Note

MIDI_TYPE = "audio/midi"
DEFAULT_TEMPO = 80
_TICKS_PER_STEP = 120
_VELOCITY = 80
_CHOIR = 52
_MAX_BYTES = 1 << 20


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


def read_midi(data: bytes) -> list[Note]:
    """The notes of a MIDI file on the grid, rounded to the nearest sixteenth.

    Voices are the tracks that hold notes, in order, or the channels where one track holds all of them: the
    first is the soprano. Tempo and metre are not read.

    Raises:
        NotationError: not a MIDI file, time in frames instead of beats, more than four voices.
    """
    if len(data) > _MAX_BYTES:
        raise NotationError(f"a MIDI file of {len(data)} bytes; at most {_MAX_BYTES}")
    try:
        file = mido.MidiFile(file=io.BytesIO(data))
    except (OSError, EOFError, ValueError, IndexError, KeyError) as error:
        raise NotationError(f"not a MIDI file: {error}") from error
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
