"""What a discrete model is to keep: every way of saying it, and every way of saying it wrong."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest

from protocol.errors import InvalidRequest
from protocol.given import kept_tokens, read_given
from protocol.midi import MAX_MIDI_BYTES, read_midi
from protocol.notes import HOLD, REST, NotationError, Note, notes_of, tokens_of
from protocol.vocabularies import CharacterVocabulary, ChoraleVocabulary

LETTERS = CharacterVocabulary(characters="abc ")
VOICES = ChoraleVocabulary(lowest=60, highest=71, steps=32)
LENGTH = 128


def text(given: dict[str, Any] | None, length: int = 6) -> list[int | None]:
    return kept_tokens(read_given(given, LETTERS, length))


def music(given: dict[str, Any]) -> list[list[int | None]]:
    """Tokens a voice."""
    kept = kept_tokens(read_given(given, VOICES, LENGTH))
    return [kept[part * 32 : (part + 1) * 32] for part in range(4)]


def midi(*notes: Note) -> str:
    from workers.music import write_midi

    return base64.b64encode(write_midi(notes, 32)).decode()


def test_text_by_hand() -> None:
    """a b c and the space are 0 1 2 3."""
    assert text({"prefix": "ab"}) == [0, 1, None, None, None, None]
    assert text({"spans": [{"start": 4, "text": "c "}]}) == [None, None, None, None, 2, 3]
    assert text({"prefix": "a", "tokens": [None, None, 1]}) == [0, None, 1, None, None, None]
    assert text({"prefix": "ab", "spans": [{"start": 1, "text": "ba"}]}) == [0, 1, 0, None, None, None]
    assert text({"prefix": "abcabc"}) == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("given", [None, {}, {"prefix": ""}, {"tokens": []}, {"tokens": [None] * 6}])
def test_nothing_is_kept(given: dict[str, Any] | None) -> None:
    assert read_given(given, LETTERS, 6) is None


def test_reading_again_changes_nothing() -> None:
    once = read_given({"prefix": "cab"}, LETTERS, 6)
    assert read_given(once, LETTERS, 6) == once
    sung = read_given({"midi": midi(Note(0, 0, 4, 65))}, VOICES, LENGTH)
    assert read_given(sung, VOICES, LENGTH) == sung


def test_voices_by_hand() -> None:
    """Token 2 is the lowest pitch, 60."""
    soprano, alto, tenor, bass = music({"soprano": [62, "hold", "rest", None], "bass": [None, 60]})
    assert soprano == [4, HOLD, REST, *[None] * 29]
    assert bass == [None, 2, *[None] * 30]
    assert alto == tenor == [None] * 32


def test_a_file_s_voices_are_kept_with_their_silence() -> None:
    soprano, alto, *_ = music({"midi": midi(Note(0, 4, 2, 65), Note(1, 0, 32, 60))})
    assert soprano == [REST] * 4 + [7, HOLD] + [REST] * 26
    assert alto == [2] + [HOLD] * 31


def test_bars_and_voices_choose() -> None:
    """The second bar is steps 16 to 31; the alto's note goes on into it."""
    file = midi(Note(0, 16, 4, 65), Note(1, 0, 32, 60))
    soprano, alto, tenor, _ = music({"midi": file, "voices": ["alto"], "bars": [2, 2]})
    assert alto == [None] * 16 + [HOLD] * 16
    assert soprano == tenor == [None] * 32


def test_a_data_url_is_a_file_too() -> None:
    assert music({"midi": f"data:audio/midi;base64,{midi(Note(0, 0, 4, 65))}"})[0][:2] == [7, HOLD]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"prefix": "abcabca"}, "prefix"),
        ({"prefix": "x"}, "prefix"),
        ({"prefix": 5}, "prefix"),
        ({"spans": [{"start": 6, "text": "a"}]}, "spans"),
        ({"spans": [{"start": -1, "text": "a"}]}, "spans"),
        ({"spans": [{"start": 0, "text": "a", "end": 4}]}, "spans"),
        ({"spans": [{"start": 1_000_000_000, "text": "a"}]}, "spans"),
        ({"prefix": "ab", "tokens": [0, 2]}, "tokens"),
        ({"tokens": [4]}, "tokens"),
        ({"tokens": [-1]}, "tokens"),
        ({"tokens": [True]}, "tokens"),
        ({"tokens": [0.0]}, "tokens"),
        ({"tokens": [0] * 7}, "tokens"),
        ({"soprano": [60]}, "soprano"),
    ],
)
def test_wrong_text_is_refused(given: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        text(given)
    assert caught.value.param == f"input.given.{param}"


FIVE = base64.b64encode(b"MThd" + bytes([0, 0, 0, 6, 0, 1, 0, 0, 0, 96])).decode()


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"soprano": [59]}, "soprano"),
        ({"bass": [72]}, "bass"),
        ({"alto": [60] * 33}, "alto"),
        ({"alto": ["sung"]}, "alto"),
        ({"prefix": "a"}, "prefix"),
        ({"midi": "not base64"}, "midi"),
        ({"midi": FIVE}, "midi"),
        ({"midi": midi(Note(0, 0, 4, 59))}, "midi"),
        ({"midi": midi(Note(0, 30, 4, 60))}, "midi"),
        ({"midi": midi(Note(0, 0, 4, 60)), "bars": [0, 1]}, "bars"),
        ({"midi": midi(Note(0, 0, 4, 60)), "bars": [2, 1]}, "bars"),
        ({"midi": midi(Note(0, 0, 4, 60)), "bars": [1, 3]}, "bars"),
        ({"midi": midi(Note(0, 0, 4, 60)), "voices": ["bass"]}, "voices"),
        ({"midi": midi(Note(0, 0, 4, 60)), "soprano": [61]}, "midi"),
        ({"voices": ["alto"]}, "voices"),
        ({"tokens": [14]}, "tokens"),
    ],
)
def test_wrong_music_is_refused(given: dict[str, Any], param: str) -> None:
    """The vocabulary is HOLD, REST and 12 pitches."""
    with pytest.raises(InvalidRequest) as caught:
        music(given)
    assert caught.value.param == f"input.given.{param}"


def test_notes_and_tokens_are_the_same_music() -> None:
    notes = [Note(0, 0, 2, 60), Note(0, 2, 1, 60), Note(3, 1, 4, 71)]
    assert notes_of(tokens_of(notes, 60, 71, 6), 60) == notes


def test_holding_silence_is_silence() -> None:
    assert notes_of([[HOLD, HOLD, 2, REST, HOLD]], 60) == [Note(0, 2, 1, 60)]


def test_broken_files_are_refused_whatever_is_broken() -> None:
    """Bytes are changed, cut and added at 300 seeds; nothing but NotationError may come out."""
    good = base64.b64decode(midi(Note(0, 0, 4, 65), Note(1, 4, 4, 60), Note(2, 0, 16, 62)))
    refused = 0
    for seed in range(300):
        chance = random.Random(seed)
        data = bytearray(good[: chance.randint(1, len(good))] if seed % 3 == 0 else good)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            read_midi(bytes(data))
        except NotationError:
            refused += 1
    assert refused > 30


def test_a_large_file_is_not_read() -> None:
    with pytest.raises(NotationError, match="at most"):
        read_midi(bytes(MAX_MIDI_BYTES + 1))
