"""Distances and figures whose values are known beforehand."""

from __future__ import annotations

import math

import numpy as np
import torch

from workers.music import Note
from workers.training.discrete import chorale_evaluation as chorale
from workers.training.discrete.chorale_corpus import VOCABULARY
from workers.training.discrete.language_judge import LanguageJudge, nats_per_character
from workers.training.discrete.measures import (
    compact,
    distance,
    longest_copied,
    mean,
    ngrams,
    share,
    unigram_entropy,
)


def test_distance_by_hand() -> None:
    """Shares (2/4, 1/4, 1/4) against (1/4, 0, 3/4); what is -1 does not count."""
    left, right = np.array([[5, 5], [7, 9], [-1, -1]]), np.array([[5, 9], [9, 9]])
    assert distance(left, right, draws=2).estimate == 0.5
    assert distance(left, left, draws=2).estimate == 0.0
    assert [codes.tolist() for codes in compact(left, right)] == [
        [[0, 0], [1, 2], [-1, -1]],
        [[0, 2], [2, 2]],
    ]


def test_intervals_hold_the_truth_and_narrow_with_samples() -> None:
    """500 rows of 20 numbers below 4 against another such draw: the true distance is 0, the floor is seen."""
    rng = np.random.default_rng(0)
    few, many = (
        distance(rng.integers(4, size=(rows, 20)), rng.integers(4, size=(rows, 20)), draws=100)
        for rows in (50, 2000)
    )
    assert few.low <= few.estimate <= few.high
    assert many.high - many.low < few.high - few.low
    values = rng.normal(3.0, 1.0, size=400)
    interval = mean(values, draws=400)
    assert math.isclose(interval.estimate, values.mean())
    # Half the width is 1.96 standard errors of .05, within a third.
    assert 0.066 < (interval.high - interval.low) / 2 < 0.13


def test_a_share_is_hits_over_cases() -> None:
    interval = share(np.array([1, 0, 3]), np.array([2, 0, 4]), draws=50)
    assert math.isclose(interval.estimate, 4 / 6)
    assert interval.as_record()["low"] <= 0.666667


def test_ngrams_and_entropy_by_hand() -> None:
    assert ngrams(np.array([[1, 2, 0]]), 2, 10).tolist() == [[12, 20]]
    entropy = unigram_entropy(np.array([[0, 0, 1, 1], [2, 2, 2, 2]]), 3)
    assert np.allclose(entropy, [math.log(2), 0.0])


def test_copied_runs_are_found_at_their_length() -> None:
    """Row 0 has 13 of the corpus in a row, row 1 all of its 40, row 2 seven."""
    rng = np.random.default_rng(0)
    corpus, rows = rng.integers(49, size=4000), rng.integers(49, size=(3, 40))
    rows[0, 5:18] = corpus[100:113]
    rows[1] = corpus[3960:]
    rows[2, :7] = corpus[:7]
    assert longest_copied(rows, corpus, (8, 12, 13, 14, 40)).tolist() == [13, 40, 0]


def test_the_judge_reads_from_left_to_right() -> None:
    """A character's nats do not change with what comes after it."""
    torch.manual_seed(0)
    judge = LanguageJudge().eval()
    tokens = torch.randint(49, (2, 128))
    later = tokens.clone()
    later[:, 64:] = 3
    with torch.inference_mode():
        assert torch.allclose(judge(tokens)[:, :64], judge(later)[:, :64])
        assert torch.allclose(nats_per_character(tokens, judge), judge(tokens).mean(1))


def tokens_of(*chords: tuple[int, int, int, int]) -> np.ndarray:
    """A window in which each chord lasts a quarter, soprano first, and rests follow."""
    notes = [
        Note(part, 4 * place, 4, pitch)
        for place, pitches in enumerate(chords)
        for part, pitch in enumerate(pitches)
    ]
    return VOCABULARY.tokens(notes, 64)[None]


def test_chords_and_parallels_by_hand() -> None:
    """C major, D major with soprano and bass an octave apart both rising a tone, then a cluster.

    Six pairs move at each of the two changes. At the first, S-B keeps its octave and A-B its fifth (19 is 7
    mod 12); at the second A-B keeps it again, both falling a semitone.
    """
    tokens = tokens_of((72, 67, 64, 48), (74, 69, 66, 50), (75, 68, 61, 49))
    sounding = chorale._sounding(tokens)
    hits, cases = chorale._chords(sounding)
    assert (hits.tolist(), cases.tolist()) == ([2], [3])
    parallel, moves = chorale._parallels(sounding)
    assert (parallel.tolist(), moves.tolist()) == ([3], [12])
    crossed, together = chorale._crossings(chorale._sounding(tokens_of((60, 62, 50, 40), (72, 60, 50, 40))))
    assert (crossed.tolist(), together.tolist()) == ([4], [8])


def test_leaps_and_intervals_by_hand() -> None:
    sounding = chorale._sounding(tokens_of((72, 67, 64, 48), (74, 67, 64, 47)))
    leaps = chorale._leaps(sounding)
    assert sorted(leaps[leaps >= 0].tolist()) == [11, 14]  # -1 and +2, moved by 12
    intervals = chorale._intervals(sounding)
    soprano_bass = intervals.reshape(6, 64)[2]
    assert soprano_bass[[0, 4, 8]].tolist() == [24, 24 + 3, -1]  # C-C, then D over B: 27 is 3 mod 12


def test_nearest_is_found_in_another_key() -> None:
    """The second known window is the sample a third lower but for a quarter of the bass: 4 of 256 cells."""
    sample = tokens_of((72, 67, 64, 48), (74, 69, 66, 50))
    moved = tokens_of((68, 63, 60, 44), (70, 65, 62, 47))
    far = tokens_of(*[(80, 70, 60, 50)] * 16)
    found = chorale.nearest(chorale._sounding(sample), chorale._sounding(np.concatenate([far, moved])))
    assert np.allclose(found, [252 / 256])


def test_figures_of_equal_sets_are_zero_and_whole() -> None:
    tokens = np.concatenate([tokens_of((72, 67, 64, 48), (74, 69, 66, 50))] * 3)
    report = chorale.chorale_figures({"same": tokens}, tokens, tokens, draws=10)
    assert report["pitch_class"]["same"]["estimate"] == 0.0
    assert report["chord"]["same"]["estimate"] == report["nearest"]["same"]["estimate"] == 1.0
