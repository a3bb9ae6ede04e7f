"""The committed readers read real scenes, and are at chance where there is nothing to read."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from workers.training.evaluation import figures
from workers.training.judge import Reader, background_of, judge, load_judge
from workers.training.objects import BACKGROUNDS, OBJECTS
from workers.training.scenes import Scene, sample_scenes


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return sample_scenes(200, 5, "heldout")


@pytest.mark.parametrize(("reader", "least"), [("main", 0.97), ("cross", 0.85)])
def test_readers_read_real_scenes(scenes: list[Scene], reader: Reader, least: float) -> None:
    found = figures([scene.image for scene in scenes], [scene.attributes for scene in scenes], reader)
    assert found["object"] >= least
    assert found["both_objects"] >= least - 0.1
    assert found["position"] >= 0.97
    assert found["background"] == 1.0


def test_shuffled_captions_are_at_chance(scenes: list[Scene]) -> None:
    """One name in 48 fits by chance; 4 of 100 and more would fall out once in a thousand runs."""
    wanted = [scene.attributes for scene in scenes]
    shuffled = random.Random(1).sample(wanted, len(wanted))
    found = figures([scene.image for scene in scenes], shuffled)
    assert found["object"] < 0.08
    assert found["both_objects"] < 0.05


def test_judge_returns_a_scene_s_own_attributes(scenes: list[Scene]) -> None:
    seen = judge([scene.image for scene in scenes[:50]])
    assert sum(a == scene.attributes for a, scene in zip(seen, scenes, strict=False)) >= 48


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_background_is_the_nearest_palette_colour(name: str) -> None:
    red, green, blue = BACKGROUNDS[name]
    image = Image.new("RGB", (64, 64), (min(red + 9, 255), max(green - 9, 0), blue))
    assert background_of(image) == name


def test_heads_know_every_object() -> None:
    assert load_judge("main").heads["first"].out_features == len(OBJECTS)
