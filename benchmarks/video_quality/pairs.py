"""The unit of the benchmark: a held-out caption of a clip with its noise seed, the same in every arm."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from workers.training.clips import ClipAttributes, Frames, clip_caption, clip_of, sample_clip_attributes

CAPTION_SEED = 2026  # no table, test or calibration draws held-out captions from it
FIRST_NOISE_SEED = 2_000_000

Captions = Literal["all", "easy", "hard"]


@dataclass(frozen=True)
class ClipPair:
    """Caption `index` of a draw, and the seed of its initial noise."""

    index: int
    attributes: ClipAttributes

    @property
    def caption(self) -> str:
        return clip_caption(self.attributes)

    @property
    def seed(self) -> int:
        return FIRST_NOISE_SEED + self.index


def is_easy(attributes: ClipAttributes) -> bool:
    """One object, slow."""
    return [mover.speed for mover in attributes.movers] == ["slow"]


def is_hard(attributes: ClipAttributes) -> bool:
    """Two objects, both fast."""
    return [mover.speed for mover in attributes.movers] == ["fast", "fast"]


_WANTED: dict[Captions, Callable[[ClipAttributes], bool]] = {
    "all": lambda attributes: True,
    "easy": is_easy,
    "hard": is_hard,
}


def held_out(count: int, captions: Captions = "all") -> list[ClipPair]:
    """The first `count` pairs of one kind, no caption twice; a longer draw starts with the shorter one."""
    dice = random.Random(f"video-quality-{captions}-{CAPTION_SEED}")
    found: dict[str, ClipAttributes] = {}
    while len(found) < count:
        attributes = sample_clip_attributes(dice, "heldout")
        if _WANTED[captions](attributes):
            found.setdefault(attributes.key, attributes)
    return [ClipPair(index, attributes) for index, attributes in enumerate(found.values())]


def renderings(pairs: Sequence[ClipPair]) -> list[Frames]:
    """A real clip of each pair's caption, its paths chosen by the pair's seed."""
    return [clip_of(pair.attributes, random.Random(pair.seed)).frames for pair in pairs]
