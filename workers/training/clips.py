"""Moving sprites with captions that are true by construction: 9 frames of 32 x 32.

A clip shows one object, or two of different colours, each gliding in a straight line at a constant speed on a
plain ground. The sprites are stained: one hue, their own light and shade. The grounds are neutral. A neutral
ground adds the same to all three channels, so the hue of every pixel an object touches is the object's own,
at soft edges and after a blurring decoder too. Colour and place are thus read off the frames without a
network (`workers.training.video.tracking`).

Splits are made by a hash of the combination (objects, colours, directions, speeds, background). The two
movers of a pair are sorted for it, so a caption and its mirror image are in the same split.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any

import numpy as np
from PIL import Image

from workers.training import sprites
from workers.training.draws import distinct
from workers.training.objects import BACKGROUNDS, with_article
from workers.training.scenes import Split, split_of

Frames = np.ndarray[Any, np.dtype[np.uint8]]
"""(9, 32, 32, 3) RGB."""

FRAME_SIZE = 32
NUM_FRAMES = 9
CLIP_OBJECTS: tuple[str, ...] = (
    "apple", "star", "moon", "cloud", "umbrella", "cat", "rabbit", "car", "plane", "key", "heart", "anchor",
)  # fmt: skip
# Colour name -> RGB of the brightest stain. Hues are 40 degrees apart or more.
CLIP_COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (232, 40, 40),
    "yellow": (240, 216, 32),
    "green": (40, 176, 64),
    "cyan": (32, 208, 216),
    "blue": (48, 48, 232),
    "pink": (236, 56, 206),
}
CLIP_BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    name: BACKGROUNDS[name] for name in ("white", "gray", "black")
}
_SLANT = 1 / sqrt(2)
# Direction name -> unit vector (right, down).
DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "up left": (-_SLANT, -_SLANT),
    "up right": (_SLANT, -_SLANT),
    "down left": (-_SLANT, _SLANT),
    "down right": (_SLANT, _SLANT),
}
# Speed name -> pixels a frame along the direction; over a clip 4, 8 or 14 pixels.
SPEEDS: dict[str, float] = {"slow": 0.5, "medium": 1.0, "fast": 1.75}
ADVERBS: dict[str, str] = {"slow": "slowly", "medium": "steadily", "fast": "fast"}
EDGES: dict[int, int] = {1: 14, 2: 10}
"""Movers -> edge length of a sprite in pixels. Two of 10 find paths apart whatever their directions."""

PAIR_SHARE = 0.3
_SCALE = 4  # frames are painted at four times the size and averaged down, for movement below a pixel
_DARKEST = 0.45  # of a stain, so that the dark parts of a sprite keep their hue


@dataclass(frozen=True)
class Mover:
    """One object of a clip; where a reader cannot tell, direction and speed are None."""

    name: str
    colour: str
    direction: str | None
    speed: str | None


@dataclass(frozen=True)
class ClipAttributes:
    """What a clip shows, or what a reader sees in one: one or two movers, and the ground's colour."""

    movers: tuple[Mover, ...]
    background: str

    @property
    def key(self) -> str:
        """The combination as one string, the thing that is held out; the order of a pair is not in it."""
        parts = sorted(f"{each.name}|{each.colour}|{each.direction}|{each.speed}" for each in self.movers)
        return "&".join((*parts, self.background))


@dataclass(frozen=True)
class Spot:
    """A stained sprite in one frame: centre in pixels, edge length in pixels, rotation in degrees."""

    name: str
    colour: str
    x: float
    y: float
    edge: int
    angle: float = 0.0


@dataclass(frozen=True, eq=False)
class Clip:
    """A caption, the attributes it states, and the frames, (9, 32, 32, 3) uint8."""

    caption: str
    attributes: ClipAttributes
    frames: Frames


def clip_caption(attributes: ClipAttributes) -> str:
    """The caption of a combination, at most 19 words."""
    movers = [
        f"{with_article(f'{each.colour} {each.name}')} moving {ADVERBS[each.speed or '']} {each.direction}"
        for each in attributes.movers
    ]
    return f"{' and '.join(movers)} on a {attributes.background} background"


def sample_clip_attributes(rng: random.Random, split: Split) -> ClipAttributes:
    """Draw one mover or two, then combinations until one lies in the split."""
    count = 2 if rng.random() < PAIR_SHARE else 1
    while True:
        names, colours = rng.sample(CLIP_OBJECTS, count), rng.sample(list(CLIP_COLOURS), count)
        movers = tuple(
            Mover(name, colour, rng.choice(list(DIRECTIONS)), rng.choice(list(SPEEDS)))
            for name, colour in zip(names, colours, strict=True)
        )
        attributes = ClipAttributes(movers, rng.choice(list(CLIP_BACKGROUNDS)))
        if split_of(attributes.key) == split:
            return attributes


def choose_paths(attributes: ClipAttributes, rng: random.Random) -> list[list[Spot]]:
    """For every frame where the sprites stand; they never leave the frame and never touch.

    Args:
        attributes: movers with a direction and a speed.
        rng: chooses the middles of the paths, on half pixels.
    """
    edge = EDGES[len(attributes.movers)]
    while True:
        paths = [_path(mover, edge, rng) for mover in attributes.movers]
        if len(paths) == 1 or _apart(paths[0], paths[1], edge):
            return [list(spots) for spots in zip(*paths, strict=True)]


def _path(mover: Mover, edge: int, rng: random.Random) -> list[Spot]:
    rate = SPEEDS[mover.speed or ""]
    right, down = (rate * part for part in DIRECTIONS[mover.direction or ""])
    reach = (NUM_FRAMES - 1) / 2
    x, y = (_middle(edge / 2 + abs(part) * reach, rng) for part in (right, down))
    times = (frame - reach for frame in range(NUM_FRAMES))
    return [Spot(mover.name, mover.colour, x + right * time, y + down * time, edge) for time in times]


def _middle(margin: float, rng: random.Random) -> float:
    """A half pixel at least `margin` from both sides of the frame."""
    return rng.randint(int(2 * margin + 0.999), int(2 * (FRAME_SIZE - margin))) / 2


def _apart(first: list[Spot], second: list[Spot], edge: int) -> bool:
    """Whether the sprites' squares never overlap."""
    return all(max(abs(a.x - b.x), abs(a.y - b.y)) >= edge for a, b in zip(first, second, strict=True))


@cache
def stained(style: str, name: str, colour: str, edge: int) -> Image.Image:
    """A sprite whose light and shade are kept and whose hue is the colour's, edge x edge, RGBA."""
    pixels = np.asarray(sprites.sprite(style, name, edge)).astype(float)
    light = pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    low, high = np.percentile(light[pixels[..., 3] > 127], [5, 95])
    shade = _DARKEST + (1 - _DARKEST) * ((light - low) / max(high - low, 40)).clip(0, 1)
    stain = shade[..., None] * np.array(CLIP_COLOURS[colour])
    return Image.fromarray(np.concatenate([stain, pixels[..., 3:]], axis=-1).round().astype(np.uint8))


def render_frame(spots: list[Spot], ground: tuple[int, int, int], style: str = "noto") -> Image.Image:
    """Paste stained sprites on a plain ground, placed to a quarter of a pixel: RGB, 32 x 32."""
    image = Image.new("RGB", (_SCALE * FRAME_SIZE, _SCALE * FRAME_SIZE), ground)
    for spot in spots:
        sprite = stained(style, spot.name, spot.colour, _SCALE * spot.edge)
        if spot.angle:
            sprite = sprite.rotate(spot.angle, Image.Resampling.BICUBIC, expand=True)
        corner = (round(_SCALE * spot.x - sprite.width / 2), round(_SCALE * spot.y - sprite.height / 2))
        image.paste(sprite, corner, sprite)
    return image.reduce(_SCALE)


def clip_of(attributes: ClipAttributes, rng: random.Random) -> Clip:
    """Render one clip of a combination in the generator's style."""
    ground = CLIP_BACKGROUNDS[attributes.background]
    images = [render_frame(spots, ground) for spots in choose_paths(attributes, rng)]
    return Clip(clip_caption(attributes), attributes, np.stack([np.asarray(image) for image in images]))


def sample_clips(n: int, seed: int, split: Split = "train") -> list[Clip]:
    """Draw clips of one split; the same (n, seed, split) gives the same clips everywhere.

    Args:
        n: how many; a longer draw starts with the shorter one.
        seed: any integer; splits of one seed are independent draws.
        split: "train", "calibration" or "heldout".
    """
    rng = random.Random(f"clips-{split}-{seed}")
    return [clip_of(sample_clip_attributes(rng, split), rng) for _ in range(n)]


def unique_clips(n: int, seed: int, split: Split) -> list[Clip]:
    """Clips of the first n distinct combinations of a draw, for tables where a caption counts once."""
    rng = random.Random(f"unique-clips-{split}-{seed}")
    found = distinct(lambda: sample_clip_attributes(rng, split), n)
    return [clip_of(attributes, rng) for attributes in found]
