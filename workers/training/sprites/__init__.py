"""The sprites of the scenes: one atlas an emoji style, objects in the vocabulary's order."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image

from workers.training.objects import OBJECTS

EDGE = 64
COLUMNS = 8
FOLDER = Path(__file__).parent


def atlas_path(style: str) -> Path:
    """The file that holds a style's sprites."""
    return FOLDER / f"{style}.png"


@cache
def _atlas(style: str) -> Image.Image:
    with Image.open(atlas_path(style)) as image:
        return image.convert("RGBA")


@cache
def sprite(style: str, name: str, edge: int) -> Image.Image:
    """A sprite scaled to edge x edge pixels, RGBA."""
    row, column = divmod(list(OBJECTS).index(name), COLUMNS)
    box = (column * EDGE, row * EDGE, (column + 1) * EDGE, (row + 1) * EDGE)
    return _atlas(style).crop(box).resize((edge, edge), Image.Resampling.LANCZOS)
