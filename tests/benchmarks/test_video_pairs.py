"""Captions of the video benchmark, and the flicker of clips made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.video_quality.pairs import held_out, is_easy, is_hard, renderings
from benchmarks.video_quality.shimmer import shimmer
from workers.training.scenes import split_of
from workers.training.video.tracking import ground


@pytest.mark.parametrize("captions", ["all", "easy", "hard"])
def test_pairs_are_held_out_unlike_and_the_same_in_a_longer_draw(captions: str) -> None:
    pairs = held_out(12, captions)
    assert held_out(5, captions) == pairs[:5]
    assert len({pair.caption for pair in pairs}) == len({pair.seed for pair in pairs}) == 12
    assert {split_of(pair.attributes.key) for pair in pairs} == {"heldout"}


def test_easy_is_one_slow_object_and_hard_are_two_fast_ones() -> None:
    assert all(is_easy(pair.attributes) for pair in held_out(5, "easy"))
    assert all(is_hard(pair.attributes) for pair in held_out(5, "hard"))
    assert "slowly" in held_out(1, "easy")[0].caption
    assert held_out(1, "hard")[0].caption.count("fast") == 2


def test_real_clips_do_not_flicker() -> None:
    assert [shimmer(frames) for frames in renderings(held_out(4))] == [0.0] * 4


def test_flicker_by_hand() -> None:
    """Ground 100, 104, 100, 104: second differences 8, -8. A drift 100, 102, 104, 106 has none."""
    frames = np.full((4, 32, 32, 3), 100, dtype=np.uint8)
    frames[1::2] += 4
    assert shimmer(frames) == 8.0
    frames[:] = np.arange(100, 108, 2, dtype=np.uint8)[:, None, None, None]
    assert shimmer(frames) == 0.0


def test_objects_and_their_edges_are_no_ground() -> None:
    """A red pixel at (10, 12) takes 5 x 5 pixels out of the ground; what it does there is no flicker."""
    frames = np.full((4, 32, 32, 3), 100, dtype=np.uint8)
    frames[1, 10, 12] = (255, 0, 0)
    free = ground(frames)
    assert (~free).sum(axis=(1, 2)).tolist() == [0, 25, 0, 0]
    assert not free[1, 8:13, 10:15].any()
    assert shimmer(frames) == 0.0
