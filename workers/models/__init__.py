"""Model families over diffusers' own modules: one file a family, found by a checkpoint's pipeline class."""

from workers.models.loading import load
from workers.models.model import Frames, Model, network_of

__all__ = ["Frames", "Model", "load", "network_of"]
