"""How large a sample is: what its price, its memory and its plan are functions of."""

from __future__ import annotations

from typing import TypedDict

from protocol.catalog import InputDefaults
from protocol.jobs import GenerationInput


class Extent(TypedDict):
    """Pixels and frames of a picture or a clip, or tokens of a sequence; the rest is None."""

    width: int | None
    height: int | None
    num_frames: int | None
    length: int | None


def extent_of(given: GenerationInput | InputDefaults) -> Extent:
    """The extent of a resolved request's samples, or of a model's defaults."""
    return Extent(width=given.width, height=given.height, num_frames=given.num_frames, length=given.length)
