"""The committed reader names real objects, and figures fall where a clip stops being what was asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from workers.training.clips import Clip, ClipAttributes, Frames, Mover, sample_clips
from workers.training.judge import judge
from workers.training.video.evaluation import figures, pair_up
from workers.training.video.judge import ClipReading, load_clip_reader
from workers.training.video.tracking import Track

APPLE = Mover("apple", "red", "left", "slow")
STAR = Mover("star", "blue", "up", "fast")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return sample_clips(100, 9, "heldout")


def frames_of(clips: list[Clip]) -> list[Frames]:
    return [clip.frames for clip in clips]


def reading(*movers: Mover) -> ClipReading:
    followed = tuple(Track(mover.colour, np.zeros((9, 2)), np.ones(9)) for mover in movers)
    return ClipReading(followed, ClipAttributes(movers, "gray"))


def test_real_clips_are_read_as_they_are(clips: list[Clip]) -> None:
    found = figures(frames_of(clips), [clip.attributes for clip in clips])
    exact = ("colour", "direction", "speed", "background", "count")
    assert {name: found[name] for name in exact} == dict.fromkeys(exact, 1.0)
    assert found["object"] >= 0.98
    assert found["everything"] >= 0.97
    assert found["speed_rank"] > 0.93
    assert found["travel"] == pytest.approx(1.0, abs=0.02)
    assert found["flicker"] == 0.0


def test_judge_takes_clips_and_images_alike(clips: list[Clip]) -> None:
    seen = judge(frames_of(clips[:10]))
    assert sum(a.key == b.attributes.key for a, b in zip(seen, clips, strict=False)) >= 9
    assert judge([]) == []


def test_shuffled_captions_are_at_chance(clips: list[Clip]) -> None:
    """One direction in eight and one object in twelve fit by chance, of those matched by colour at that."""
    wanted = [clip.attributes for clip in clips]
    found = figures(frames_of(clips), wanted[1:] + wanted[:1])
    assert found["direction"] < 0.25
    assert found["object"] < 0.25
    assert found["everything"] < 0.03


def test_slower_clips_travel_less(clips: list[Clip]) -> None:
    """Frames 0, 0, 1, 1, ... 4: half of the way is gone."""
    halved = [clip.frames[np.arange(9) // 2] for clip in clips[:30]]
    found = figures(halved, [clip.attributes for clip in clips[:30]])
    assert found["travel"] == pytest.approx(0.5, abs=0.03)
    assert found["direction"] >= 0.95


def test_a_lone_mover_is_matched_whatever_its_colour_and_a_pair_by_colour() -> None:
    pink = replace(APPLE, colour="pink")
    ((want, seen, _),) = pair_up(ClipAttributes((APPLE,), "gray"), reading(pink, STAR))
    assert (want, seen) == (APPLE, pink)
    pairs = pair_up(ClipAttributes((APPLE, STAR), "gray"), reading(STAR, pink))
    assert [seen for _, seen, _ in pairs] == [None, STAR]
    assert pair_up(ClipAttributes((APPLE,), "gray"), reading())[0][1] is None


def test_the_reader_sees_neither_colour_nor_place() -> None:
    assert next(load_clip_reader().parameters()).shape[1] == 1
