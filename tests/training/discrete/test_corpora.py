"""Splits share neither words nor melodies; chorales stay within their voices' ranges in every key."""

from __future__ import annotations

import re

import numpy as np
import pytest

from workers.music import Note
from workers.training import chorales, texts
from workers.training.chorales import CORPUS_PATH, RANGES, allowed_shifts, load_windows, sample_chorales
from workers.training.discrete import chorale_corpus, wordnet
from workers.training.discrete.chorale_corpus import VOCABULARY, Piece, melody, read_corpus
from workers.training.texts import TextCorpus, load_texts, sample_texts

LINES = [
    "  1 a licence line | is no gloss",
    '00001740 03 n 01 entity 0 | Something  that `is\';  "he was" ',
    "00001741 03 n 01 copy 0 | something that 'is'; \"he was\"",
    "00001742 03 n 01 sum 0 | 5 % of it",
]


def test_glosses_are_lower_case_once_and_without_rare_characters() -> None:
    assert wordnet.glosses_of(LINES[1:]) == ["something that 'is'; \"he was\""]
    assert len(wordnet.CHARACTERS) == len(set(wordnet.CHARACTERS)) == 49


def test_glosses_that_share_six_words_are_one_group() -> None:
    """0 and 1 share "a b c d e f", 1 and 3 "d e f g h i"; 4 repeats 2, which is shorter than six words."""
    glosses = ["a b c d e f x", "y a b c d e f g h i", "a b c", "d, e, f (g) h i", "a b c!"]
    assert wordnet.groups_of(glosses) == [0, 0, 2, 0, 2]
    parted = wordnet.part(glosses)
    places = {gloss: split for split, found in parted.items() for gloss in found}
    assert places["a b c d e f x"] == places["d, e, f (g) h i"]
    assert sorted(places) == sorted(glosses)


def test_the_carried_splits_share_no_six_words() -> None:
    runs = []
    for split in wordnet.CARRIED:
        text = texts.VOCABULARY.decode(load_texts(split).tokens.tolist())
        found = set()
        for gloss in text.split("\n"):
            words = re.findall(r"[a-z0-9]+", gloss)
            found |= {tuple(words[place : place + 6]) for place in range(len(words) - 5)}
        runs.append(found)
    assert min(map(len, runs)) > 30_000
    assert not runs[0] & runs[1]


def test_texts_are_the_same_everywhere_and_longer_draws_begin_with_shorter_ones() -> None:
    assert sample_texts(3, 7, "heldout") == sample_texts(5, 7, "heldout")[:3]
    assert sample_texts(3, 7, "heldout") != sample_texts(3, 8, "heldout")
    assert {len(text) for text in sample_texts(5, 7, "calibration")} == {128}


def test_windows_are_runs_of_the_corpus() -> None:
    corpus = TextCorpus.of("ab" * 65)
    assert corpus.num_starts == 3
    assert texts.VOCABULARY.decode(corpus.windows(np.array([1]))[0].tolist()) == "ba" * 64
    with pytest.raises(ValueError, match="not in the vocabulary"):
        TextCorpus.of("a%")


def test_melodies_that_share_a_run_are_one_group_in_any_key() -> None:
    """Steps 2 2 1, 2 2 1 2 and 1 2: with runs of four notes the first two are tied, the third is alone."""
    assert chorale_corpus.groups_of([(2, 2, 1), (5, 2, 2, 1, 2), (1, 2, 7)], notes=4) == [0, 0, 2]
    tokens = VOCABULARY.tokens(
        [Note(0, 0, 2, 60), Note(0, 2, 2, 60), Note(0, 4, 1, 62), Note(0, 5, 1, 59)], 6
    )
    assert melody(tokens) == (2, -3)


def test_no_group_is_in_two_splits_and_every_window_is_whole() -> None:
    pieces, groups = read_corpus(CORPUS_PATH)
    assert len(pieces) == len(groups) > 300
    assert len({piece.name for piece in pieces}) == len(pieces)
    names = {split: set(load_windows(split).names) for split in ("train", "calibration", "heldout")}
    assert not names["train"] & (names["calibration"] | names["heldout"])
    assert not names["calibration"] & names["heldout"]
    tied: dict[int, set[str]] = {}
    for piece, group in zip(pieces, groups, strict=True):
        homes = [split for split, known in names.items() if piece.name in known]
        tied.setdefault(group, set()).update(homes)
    assert max(len(homes) for homes in tied.values()) == 1
    for split in names:
        tokens = load_windows(split).tokens
        assert tokens.shape[1:] == (4, 64)
        assert tokens.max() < VOCABULARY.size
        assert (tokens[:, :, 0] != 0).all()  # nothing is held from before the window


def test_every_key_keeps_each_voice_within_its_range() -> None:
    for chorale in sample_chorales(50, 3, "train"):
        for note in chorale.notes:
            lowest, highest = RANGES[note.part]
            assert lowest <= note.pitch <= highest
    drawn = sample_chorales(50, 3, "train")
    assert len({chorale.shift for chorale in drawn}) > 4
    assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(drawn, sample_chorales(50, 3), strict=True))


def test_shifts_by_hand() -> None:
    """A soprano of 60 to 79 may fall to 57 or rise to 81; a bass of 40 to 60 fall to 36 or rise to 64."""
    tokens = VOCABULARY.tokens(
        [Note(0, 0, 1, 60), Note(0, 1, 1, 79), Note(3, 0, 1, 40), Note(3, 2, 1, 60)], 4
    )
    assert allowed_shifts(tokens[None]).tolist() == [[-3, 2]]


def test_a_window_begins_what_sounds_into_it() -> None:
    notes = [Note(0, 0, 20, 72), Note(1, 16, 4, 64), Note(3, 2, 3, 48)]
    piece = Piece("bwv0", VOCABULARY.tokens(notes, 96), (16, 32, 48))
    assert chorales.starts_of(piece) == [16, 32]
    window = chorales.windows_of(piece)[0]
    assert window[:, 0].tolist() == [VOCABULARY.token(72), VOCABULARY.token(64), 1, 1]
    assert window[0, 1:5].tolist() == [0, 0, 0, 1]


def test_the_corpus_is_what_music21_has() -> None:
    """One piece parsed anew: the notes of BWV 253, bars after its pick-up."""
    piece = chorale_corpus._parse("bach/bwv253")
    assert piece is not None
    known = {each.name: each for each in read_corpus(CORPUS_PATH)[0]}["bwv253"]
    assert np.array_equal(piece.tokens, known.tokens)
    assert piece.bars == known.bars
    assert piece.bars[0] in (0, 4)
