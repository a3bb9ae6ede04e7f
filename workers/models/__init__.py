"""Model families over diffusers' own modules: one file a family, found by a checkpoint's pipeline class."""

from workers.models.conditions import encode_lanes
from workers.models.loading import load
from workers.models.model import (
    Frames,
    LoadedModel,
    Model,
    Piece,
    StartsFromImage,
    TokenModel,
    network_of,
    picture_model,
)
from workers.models.options import LoadOptions

__all__ = [
    "Frames",
    "LoadOptions",
    "LoadedModel",
    "Model",
    "Piece",
    "StartsFromImage",
    "TokenModel",
    "encode_lanes",
    "load",
    "network_of",
    "picture_model",
]
