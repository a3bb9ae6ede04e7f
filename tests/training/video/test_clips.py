"""Captions true by construction, draws that repeat, splits that never overlap, sprites that never touch."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

from workers.training.clips import (
    CLIP_BACKGROUNDS,
    CLIP_COLOURS,
    CLIP_OBJECTS,
    DIRECTIONS,
    EDGES,
    FRAME_SIZE,
    NUM_FRAMES,
    SPEEDS,
    ClipAttributes,
    Mover,
    choose_paths,
    clip_caption,
    sample_clips,
    unique_clips,
)
from workers.training.objects import OBJECTS
from workers.training.scenes import SPLIT_PERCENT, split_of

APPLE = Mover("apple", "red", "up left", "slow")
STAR = Mover("star", "yellow", "right", "fast")


def test_caption_says_every_attribute() -> None:
    assert clip_caption(ClipAttributes((APPLE,), "gray")) == (
        "a red apple moving slowly up left on a gray background"
    )
    assert clip_caption(ClipAttributes((APPLE, STAR), "black")) == (
        "a red apple moving slowly up left and a yellow star moving fast right on a black background"
    )


def test_vocabulary_is_as_large_as_promised() -> None:
    assert len(CLIP_OBJECTS) == 12
    assert set(CLIP_OBJECTS) <= set(OBJECTS)
    assert (len(CLIP_COLOURS), len(DIRECTIONS), len(SPEEDS), len(CLIP_BACKGROUNDS)) == (6, 8, 3, 3)


def test_same_seed_same_clips_and_longer_draws_begin_alike() -> None:
    first, again, other = sample_clips(6, 3), sample_clips(9, 3), sample_clips(6, 4)
    assert [clip.caption for clip in first] == [clip.caption for clip in again[:6]]
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(first, again, strict=False))
    assert [clip.caption for clip in first] != [clip.caption for clip in other]
    assert {clip.frames.shape for clip in first} == {(NUM_FRAMES, FRAME_SIZE, FRAME_SIZE, 3)}


def test_no_caption_or_combination_is_in_two_splits() -> None:
    drawn = {split: sample_clips(300, 0, split) for split in SPLIT_PERCENT}
    for left, right in combinations(drawn, 2):
        for of in (lambda clip: clip.caption, lambda clip: clip.attributes.key):
            assert not set(map(of, drawn[left])) & set(map(of, drawn[right]))


def test_a_pair_and_its_mirror_image_are_held_out_together() -> None:
    one, other = ClipAttributes((APPLE, STAR), "gray"), ClipAttributes((STAR, APPLE), "gray")
    assert clip_caption(one) != clip_caption(other)
    assert one.key == other.key


def test_a_tenth_of_all_single_combinations_is_held_out() -> None:
    """12 x 6 x 8 x 3 x 3 = 5,184 combinations; two points are five deviations of a fair draw."""
    singles = [
        ClipAttributes((Mover(*mover),), background)
        for *mover, background in product(CLIP_OBJECTS, CLIP_COLOURS, DIRECTIONS, SPEEDS, CLIP_BACKGROUNDS)
    ]
    shares = Counter(split_of(each.key) for each in singles)
    assert len(singles) == len({each.key for each in singles}) == 5184
    assert shares["heldout"] / 5184 == pytest.approx(0.1, abs=0.02)


def test_unique_clips_are_unique_and_of_their_split() -> None:
    clips = unique_clips(80, 7, "heldout")
    assert len({clip.attributes.key for clip in clips}) == 80
    assert {split_of(clip.attributes.key) for clip in clips} == {"heldout"}


def test_a_path_by_hand() -> None:
    """Fast right: 8 intervals of 1.75 pixels are 14; a sprite of 14 leaves the middle 14 to 18."""
    frames = choose_paths(ClipAttributes((STAR,), "gray"), random.Random(0))
    assert frames[-1][0].x - frames[0][0].x == 14
    assert 14 <= frames[4][0].x <= 18
    assert len({spots[0].y for spots in frames}) == 1


def test_any_two_movers_find_paths_that_stay_inside_and_apart() -> None:
    rng, edge = random.Random(0), EDGES[2]
    ways = list(product(DIRECTIONS, ("medium", "fast")))
    for first, second in combinations(ways, 2):
        movers = (Mover("apple", "red", *first), Mover("star", "blue", *second))
        for a, b in choose_paths(ClipAttributes(movers, "gray"), rng):
            assert max(abs(a.x - b.x), abs(a.y - b.y)) >= edge
            assert all(edge / 2 <= place <= FRAME_SIZE - edge / 2 for place in (a.x, a.y, b.x, b.y))
