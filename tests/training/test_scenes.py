"""Captions true by construction, draws that repeat, splits that never overlap."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

from workers.training.objects import BACKGROUNDS, COLOURS, OBJECTS, POSITIONS, SIZES, STYLES
from workers.training.scenes import (
    SPLIT_PERCENT,
    Attributes,
    caption_of,
    place,
    sample_attributes,
    sample_scenes,
    split_of,
    unique_attributes,
)

SPLITS = tuple(SPLIT_PERCENT)


def test_vocabulary_is_as_large_as_promised() -> None:
    assert len(OBJECTS) >= 48
    assert len(BACKGROUNDS) == 8
    assert set(COLOURS) <= set(OBJECTS)
    assert len(STYLES) == 3


@pytest.mark.parametrize(
    ("attributes", "caption"),
    [
        (
            Attributes(("apple",), 1, "blue", "small", "top left"),
            "a small apple at the top left on a blue background",
        ),
        (Attributes(("cat",), 1, "red", "large", "center"), "a large cat in the center on a red background"),
        (Attributes(("cherry",), 3, "gray"), "three cherries on a gray background"),
        (
            Attributes(("apple", "umbrella"), 2, "white", relation="above"),
            "an apple above an umbrella on a white background",
        ),
    ],
)
def test_caption_says_every_attribute(attributes: Attributes, caption: str) -> None:
    assert caption_of(attributes) == caption


def test_coloured_caption_is_the_one_people_write() -> None:
    assert (
        caption_of(Attributes(("apple",), 2, "blue"), coloured=True) == "two red apples on a blue background"
    )


def test_same_seed_same_scenes_and_longer_draws_begin_alike() -> None:
    first, again, other = sample_scenes(12, 3), sample_scenes(20, 3), sample_scenes(12, 4)
    assert [scene.caption for scene in first] == [scene.caption for scene in again[:12]]
    assert all(a.image.tobytes() == b.image.tobytes() for a, b in zip(first, again, strict=False))
    assert [scene.caption for scene in first] != [scene.caption for scene in other]


def test_no_caption_or_combination_is_in_two_splits() -> None:
    drawn = {split: sample_scenes(400, 0, split) for split in SPLITS}
    for left, right in combinations(SPLITS, 2):
        assert not {scene.caption for scene in drawn[left]} & {scene.caption for scene in drawn[right]}
        assert not {scene.attributes.key for scene in drawn[left]} & {
            scene.attributes.key for scene in drawn[right]
        }


def test_one_caption_one_combination() -> None:
    """Over all single-object combinations: captions are as many as keys, so splits by key split captions."""
    singles = [
        Attributes((name,), 1, background, size, position)
        for name, background, size, position in product(OBJECTS, BACKGROUNDS, SIZES, POSITIONS)
    ]
    assert len({caption_of(each) for each in singles}) == len({each.key for each in singles}) == len(singles)
    shares = Counter(split_of(each.key) for each in singles)
    assert shares["heldout"] / len(singles) == pytest.approx(0.1, abs=0.02)
    assert shares["calibration"] / len(singles) == pytest.approx(0.1, abs=0.02)


def test_unique_attributes_are_unique_and_of_their_split() -> None:
    found = unique_attributes(300, 7, "heldout")
    assert len({each.key for each in found}) == 300
    assert {split_of(each.key) for each in found} == {"heldout"}


def test_pixels_agree_with_the_caption() -> None:
    """The middle of a single object's visible pixels lies on the side the caption says."""
    for scene in sample_scenes(300, 11):
        pixels = np.asarray(scene.image).astype(int)
        ground = np.array(BACKGROUNDS[scene.attributes.background])
        rows, columns = np.nonzero(np.abs(pixels - ground).sum(-1) > 60)
        if scene.attributes.kind != "single" or not len(rows):
            continue
        right, down = POSITIONS[scene.attributes.position or "center"]
        if right:
            assert right * ((columns.min() + columns.max()) / 2 - 31.5) > 0
        if down:
            assert down * ((rows.min() + rows.max()) / 2 - 31.5) > 0


def test_placements_follow_the_relation() -> None:
    rng = random.Random(0)
    for _ in range(300):
        attributes = sample_attributes(rng, "train")
        spots = place(attributes, rng)
        assert len(spots) == attributes.count
        assert all(spot.edge / 2 - 2 <= spot.x <= 66 - spot.edge / 2 for spot in spots)
        if attributes.relation == "left of":
            assert spots[0].x + 20 < spots[1].x
        if attributes.relation == "above":
            assert spots[0].y + 20 < spots[1].y
