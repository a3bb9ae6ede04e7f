"""The unit of the benchmark: a held-out caption with its noise seed, the same in every arm."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from workers.training.scenes import Attributes, caption_of, scene_of, unique_attributes

CAPTION_SEED = 2026  # no table, test or calibration draws held-out captions from it
FIRST_NOISE_SEED = 1_000_000


@dataclass(frozen=True)
class Pair:
    """Caption `index` of the held-out draw, and the seed of its initial noise."""

    index: int
    attributes: Attributes

    @property
    def caption(self) -> str:
        return caption_of(self.attributes)

    @property
    def seed(self) -> int:
        return FIRST_NOISE_SEED + self.index


def held_out(count: int) -> list[Pair]:
    """The first `count` pairs; no caption twice, and a longer draw starts with the shorter one."""
    wanted = unique_attributes(count, CAPTION_SEED, "heldout")
    return [Pair(index, attributes) for index, attributes in enumerate(wanted)]


def renderings(pairs: Sequence[Pair]) -> list[Image.Image]:
    """A real scene of each pair's caption, placed by the pair's seed."""
    return [scene_of(pair.attributes, random.Random(pair.seed)).image for pair in pairs]
