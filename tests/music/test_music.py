"""Notes to tokens, MIDI, MusicXML and pictures, and back where there is a way back."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

import mido
import numpy as np
import pytest
from PIL import Image

from workers.music import (
    NotationError,
    Note,
    PitchVocabulary,
    draw_roll,
    read_midi,
    write_midi,
    write_musicxml,
)

VOCABULARY = PitchVocabulary(36, 81)
NOTES = [
    Note(0, 0, 6, 72),
    Note(0, 6, 2, 72),
    Note(0, 10, 8, 69),
    Note(1, 0, 18, 64),
    Note(2, 2, 1, 55),
    Note(3, 0, 18, 36),
]


def test_tokens_by_hand() -> None:
    """HOLD 0, REST 1, pitch 36 is 2: C5 held for two, C5 again, a rest, then D5 into the end."""
    tokens = VOCABULARY.tokens([Note(0, 0, 2, 72), Note(0, 2, 1, 72), Note(0, 4, 9, 74)], 6, parts=1)
    assert tokens.tolist() == [[38, 0, 38, 1, 40, 0]]
    assert VOCABULARY.pitches(tokens).tolist() == [[72, 72, 72, -1, 74, 74]]
    assert VOCABULARY.notes(tokens) == [Note(0, 0, 2, 72), Note(0, 2, 1, 72), Note(0, 4, 2, 74)]
    assert VOCABULARY.size == 48


def test_hold_where_nothing_sounds_is_a_rest() -> None:
    tokens = np.array([[0, 0, 1, 0, 2, 0]])
    assert VOCABULARY.pitches(tokens).tolist() == [[-1, -1, -1, -1, 36, 36]]
    assert VOCABULARY.notes(tokens) == [Note(0, 4, 2, 36)]


def test_notes_outlive_tokens_and_midi() -> None:
    assert VOCABULARY.notes(VOCABULARY.tokens(NOTES, 18)) == NOTES
    assert read_midi(write_midi(NOTES, 18)) == NOTES
    assert read_midi(write_midi([], 64)) == []


@pytest.mark.parametrize(
    ("notes", "match"),
    [
        ([Note(1, 0, 4, 60), Note(1, 3, 1, 62)], "Alto has two notes at once at step 3"),
        ([Note(0, 0, 4, 82)], "pitch 82 is not within 36 to 81"),
    ],
)
def test_what_does_not_fit_the_tokens_is_refused(notes: list[Note], match: str) -> None:
    with pytest.raises(NotationError, match=match):
        VOCABULARY.tokens(notes, 16)


def midi(tracks: list[list[tuple[int, int, int, int]]], ticks: int = 96) -> bytes:
    """Tracks of (delta ticks, channel, pitch, velocity)."""
    file = mido.MidiFile(ticks_per_beat=ticks)
    for messages in tracks:
        track = mido.MidiTrack()
        for time, channel, pitch, velocity in messages:
            track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=velocity, time=time))
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def test_one_track_of_several_channels_is_several_voices() -> None:
    """24 ticks are a sixteenth; 35 ticks are nearest to one; a velocity of 0 ends a note."""
    data = midi([[(0, 3, 72, 90), (0, 5, 60, 90), (35, 3, 72, 0), (61, 5, 60, 0)]])
    assert read_midi(data) == [Note(0, 0, 1, 72), Note(1, 0, 4, 60)]


def test_a_soprano_alone_is_voice_0_and_tracks_without_notes_do_not_count() -> None:
    assert read_midi(midi([[], [(96, 0, 70, 80), (48, 0, 70, 0)]])) == [Note(0, 4, 2, 70)]


def test_bad_midi_is_refused() -> None:
    five = [[(0, voice, 60 + voice, 80), (96, voice, 60 + voice, 0)] for voice in range(5)]
    with pytest.raises(NotationError, match="5 voices; at most 4"):
        read_midi(midi(five))
    good = write_midi(NOTES, 18)
    for data in (b"", b"RIFF", good[:40], good[:12] + b"\xe7\x28" + good[14:], b"MThd" + bytes(40)):
        with pytest.raises(NotationError, match=r"not a MIDI file|frames"):
            read_midi(data)


def test_musicxml_adds_up_and_ties_over_bars() -> None:
    """18 steps are two bars of 16; every bar of every part is full."""
    root = ET.fromstring(write_musicxml(NOTES, 18).split(b"\n", 2)[2])
    parts = root.findall("part")
    assert [len(part.findall("measure")) for part in parts] == [2] * 4
    for part in parts:
        for bar in part.findall("measure"):
            assert sum(int(each.text or 0) for each in bar.iter("duration")) == 16
    alto = parts[1].findall("measure")
    assert [tie.get("type") for tie in alto[0].iter("tie")] == ["start"]
    assert [tie.get("type") for tie in alto[1].iter("tie")] == ["stop"]
    first = parts[0].find("measure/note")
    assert first is not None
    assert [first.findtext(name) for name in ("pitch/step", "pitch/octave", "type")] == ["C", "5", "quarter"]
    assert first.find("dot") is not None


def test_the_roll_shows_each_voice_in_its_colour() -> None:
    image = Image.open(io.BytesIO(draw_roll(NOTES, 18)))
    assert image.size == (180, (72 - 36 + 5) * 8)
    assert image.getpixel((15, 2 * 8 + 2)) == (214, 69, 65)  # the soprano's C5 is two pitches below the top
    assert image.getpixel((15, image.height - 3 * 8 + 2)) == (50, 90, 180)
    assert image.getpixel((58, 2 * 8 + 2)) == (214, 69, 65)
    assert image.getpixel((59, 2 * 8 + 2)) != (214, 69, 65)  # the gap between two C5
