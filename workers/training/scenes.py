"""Composed scenes of emoji sprites with captions that are true by construction.

A scene is one of four kinds: one object (size, position), two or three of one object, two different objects
in a relation. A caption names every attribute of its scene, so a reader of the image can be held to it.

Splits are made by a hash of the combination (objects, count, size, position, relation, background): whole
combinations are held out, and because a caption names its combination no caption is in two splits either.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import Image

from workers.training import sprites
from workers.training.draws import distinct
from workers.training.objects import (
    BACKGROUNDS,
    COLOURS,
    OBJECTS,
    POSITIONS,
    RELATIONS,
    SIZES,
    plural,
    with_article,
)

IMAGE_SIZE = 64
Split = Literal["train", "calibration", "heldout"]
Kind = Literal["single", "two", "three", "pair"]
KIND_WEIGHTS: dict[Kind, float] = {"single": 0.5, "two": 0.08, "three": 0.07, "pair": 0.35}
NUMBER_WORDS = {2: "two", 3: "three"}
SPLIT_PERCENT: dict[Split, range] = {
    "heldout": range(10),
    "calibration": range(10, 20),
    "train": range(20, 100),
}


@dataclass(frozen=True)
class Attributes:
    """What a scene shows, or what a reader sees in an image.

    Attributes:
        objects: one name, or two for a relation ("first left of second", "first above second").
        count: how many sprites of the one object; 2 for a relation.
        background: a name of the palette.
        size, position: of a single object, else None.
        relation: of two different objects, else None.
    """

    objects: tuple[str, ...]
    count: int
    background: str
    size: str | None = None
    position: str | None = None
    relation: str | None = None

    @property
    def kind(self) -> Kind:
        """Which of the four compositions it is."""
        if self.relation is not None:
            return "pair"
        return {1: "single", 2: "two", 3: "three"}[self.count]  # type: ignore[return-value]

    @property
    def key(self) -> str:
        """The combination as one string, the thing that is held out."""
        parts = ("+".join(self.objects), self.count, self.size, self.position, self.relation, self.background)
        return "|".join(map(str, parts))


@dataclass(frozen=True)
class Placement:
    """One sprite in a scene: name, centre in pixels, edge length in pixels, rotation in degrees."""

    name: str
    x: float
    y: float
    edge: int
    angle: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A caption, the attributes it states, and the image: RGB, 64 x 64."""

    caption: str
    attributes: Attributes
    image: Image.Image


def caption_of(attributes: Attributes, *, coloured: bool = False) -> str:
    """The one caption of a combination; `coloured` says the objects' own colours too ("two red apples")."""
    ground = f"on a {attributes.background} background"
    colours = [f"{COLOURS[name]} " if coloured and name in COLOURS else "" for name in attributes.objects]
    nouns = [colour + name for colour, name in zip(colours, attributes.objects, strict=True)]
    if attributes.relation is not None:
        return f"{with_article(nouns[0])} {attributes.relation} {with_article(nouns[1])} {ground}"
    if attributes.count > 1:
        return f"{NUMBER_WORDS[attributes.count]} {colours[0]}{plural(attributes.objects[0])} {ground}"
    where = "in the center" if attributes.position == "center" else f"at the {attributes.position}"
    return f"a {attributes.size} {nouns[0]} {where} {ground}"


@cache
def split_of(key: str) -> Split:
    """The split a combination belongs to: 10 % held out, 10 % calibration, 80 % training."""
    percent = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % 100
    return next(split for split, percents in SPLIT_PERCENT.items() if percent in percents)


def sample_attributes(rng: random.Random, split: Split) -> Attributes:
    """Draw a kind by weight, then combinations of it until one lies in the split."""
    kind = rng.choices(list(KIND_WEIGHTS), weights=list(KIND_WEIGHTS.values()))[0]
    while True:
        attributes = _draw(rng, kind)
        if split_of(attributes.key) == split:
            return attributes


def _draw(rng: random.Random, kind: Kind) -> Attributes:
    names, background = list(OBJECTS), rng.choice(list(BACKGROUNDS))
    if kind == "pair":
        first, second = rng.sample(names, 2)
        return Attributes((first, second), 2, background, relation=rng.choice(RELATIONS))
    name = rng.choice(names)
    if kind == "single":
        return Attributes((name,), 1, background, rng.choice(SIZES), rng.choice(list(POSITIONS)))
    return Attributes((name,), 2 if kind == "two" else 3, background)


def place(attributes: Attributes, rng: random.Random) -> tuple[Placement, ...]:
    """Where the sprites of a combination go; every draw keeps the caption true.

    Sizes (pixels of 64): small 24-26, large 38-40, pairs 28, two 26-28, three 24-26. Shifts are even numbers
    of pixels, so that the autoencoder's factor of four meets few phases.
    """
    kind = attributes.kind
    if kind == "single":
        return (_place_single(attributes, rng),)
    if kind == "pair":
        centres = [(16, 32), (48, 32)] if attributes.relation == "left of" else [(32, 16), (32, 48)]
        names, edge = attributes.objects, 28
    else:
        centres = [(16, 32), (48, 32)] if kind == "two" else [(32, 16), (16, 48), (48, 48)]
        names, edge = attributes.objects * attributes.count, rng.choice((24, 26)) + 2 * (kind == "two")
    return tuple(
        Placement(name, x + _shift(rng, 2), y + _shift(rng, 2), edge)
        for name, (x, y) in zip(names, centres, strict=True)
    )


def _place_single(attributes: Attributes, rng: random.Random) -> Placement:
    small = attributes.size == "small"
    edge = rng.choice((24, 26) if small else (38, 40))
    reach = 16 if small else 10
    right, down = POSITIONS[attributes.position or "center"]
    x, y = 32 + right * reach + _shift(rng, 2), 32 + down * reach + _shift(rng, 2)
    return Placement(attributes.objects[0], x, y, edge)


def _shift(rng: random.Random, reach: int) -> int:
    return rng.randrange(-reach, reach + 1, 2)


def render(
    placements: tuple[Placement, ...], ground: tuple[int, int, int], style: str = "noto"
) -> Image.Image:
    """Paste the sprites on a plain ground: RGB, 64 x 64."""
    image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), ground)
    for spot in placements:
        sprite = sprites.sprite(style, spot.name, spot.edge)
        if spot.angle:
            sprite = sprite.rotate(spot.angle, Image.Resampling.BICUBIC, expand=True)
        corner = (round(spot.x - sprite.width / 2), round(spot.y - sprite.height / 2))
        image.paste(sprite, corner, sprite)
    return image


def scene_of(attributes: Attributes, rng: random.Random) -> Scene:
    """Render one scene of a combination in the generator's style."""
    image = render(place(attributes, rng), BACKGROUNDS[attributes.background])
    return Scene(caption_of(attributes), attributes, image)


def sample_scenes(n: int, seed: int, split: Split = "train") -> list[Scene]:
    """Draw scenes of one split; the same (n, seed, split) gives the same scenes everywhere.

    Args:
        n: how many; a longer draw starts with the shorter one.
        seed: any integer; splits of one seed are independent draws.
        split: "train", "calibration" or "heldout".
    """
    rng = random.Random(f"{split}-{seed}")
    return [scene_of(sample_attributes(rng, split), rng) for _ in range(n)]


def unique_attributes(n: int, seed: int, split: Split) -> list[Attributes]:
    """The first n distinct combinations of an endless draw, for tables where a caption counts once."""
    rng = random.Random(f"unique-{split}-{seed}")
    return distinct(lambda: sample_attributes(rng, split), n)
