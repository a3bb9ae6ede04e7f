"""What the engine asks of a loaded model, whatever its family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from protocol.calibration import Calibration
from protocol.catalog import CatalogEntry
from protocol.notes import Note
from protocol.vocabularies import CharacterVocabulary, ChoraleVocabulary
from workers.core import Condition, Grid, Network
from workers.core.pare_router import DepthRouter

Frames = NDArray[np.uint8]
"""A clip (F, H, W, 3), RGB."""


class Piece(NamedTuple):
    """Music: its notes and how many sixteenths it lasts."""

    notes: tuple[Note, ...]
    steps: int


class Variant(NamedTuple):
    """Other weights of a model: their network, and which of its blocks a row runs if they have a router."""

    network: Network
    depth_router: DepthRouter | None = None


class LoadedModel(Protocol):
    """A network and its catalog entry, whatever it makes.

    `pipeline` is diffusers' own, sharing the same modules, or what stands in its place.
    """

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def catalog(self) -> CatalogEntry: ...
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def pipeline(self) -> Any: ...
    @property
    def network(self) -> Network: ...
    @property
    def depth_router(self) -> DepthRouter | None:
        """Which blocks a row runs; None: the checkpoint has no router of its own."""
        ...

    @property
    def variants(self) -> Mapping[str, Variant]:
        """Other weights that it carries, by the method that asks for them."""
        ...

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def base_digest(self) -> str:
        """Of the checkpoint as it lies there, without its LoRAs: what a calibration is made for."""
        ...

    @property
    def exact(self) -> bool:
        """Whether a row has the very bits in company that it has alone; else they agree in a tolerance."""
        ...

    @property
    def scheduler_config(self) -> Mapping[str, Any]: ...

    def use_lora(self, name: str | None) -> None:
        """Have the network's next forwards run under this LoRA of the catalog's; None: under none."""
        ...


@runtime_checkable
class Model(LoadedModel, Protocol):
    """A model of pictures or clips: text encoders before the network, a decoder behind it."""

    @property
    def latents_dtype(self) -> torch.dtype:
        """In which initial noise is drawn, as the family's pipeline does."""
        ...

    def grid(self, width: int, height: int, num_frames: int | None = None) -> Grid:
        """The tokens of an image of this many pixels, or of a clip of so many frames."""
        ...

    def noise_shape(self, grid: Grid) -> tuple[int, ...]:
        """The shape in which initial noise is drawn, (1, C, h, w) or (1, C, F, h, w)."""
        ...

    def pack(self, noise: Tensor) -> Tensor:
        """Noise as the network takes its latents, see `workers.core.Batch`."""
        ...

    def encode(self, prompt: str, guidance_scale: float | None) -> Condition:
        """One prompt, encoded alone. The scale matters to guidance-distilled networks only."""
        ...

    def decode(self, latents: Tensor, grid: Grid) -> Image | Frames:
        """One sample's latents, decoded alone: a picture or a clip."""
        ...


@runtime_checkable
class TokenModel(LoadedModel, Protocol):
    """A model of text or music: its network's latents are tokens (R, n), its timestep the total noise."""

    @property
    def vocabulary(self) -> CharacterVocabulary | ChoraleVocabulary: ...

    @property
    def sigma_max(self) -> float:
        """The most total noise it was trained under."""
        ...

    def token_grid(self, length: int) -> Grid:
        """The grid of a sequence of so many tokens."""
        ...

    def read(self, tokens: Tensor) -> str | Piece:
        """One sample's tokens (1, n) as text or as music."""
        ...


@runtime_checkable
class StartsFromImage(Protocol):
    """What a model whose catalog entry takes `image` can do besides."""

    def encode_image(self, image: Image, grid: Grid) -> tuple[Tensor, ...]:
        """What an image of any size adds to the condition of every lane, behind the prompt's tensors."""
        ...


def network_of(model: LoadedModel, variant: str | None) -> Network:
    """The network of a weights variant; None: of the checkpoint's own weights.

    Raises:
        LookupError: it carries no such weights.
    """
    if variant is None:
        return model.network
    if variant not in model.variants:
        raise LookupError(f"{model.name} carries no weights for {variant!r}")
    return model.variants[variant].network


def picture_model(model: LoadedModel) -> Model:
    """The model itself, for what is made for pictures and clips alone.

    Raises:
        ValueError: it makes neither.
    """
    if not isinstance(model, Model):
        raise ValueError(f"{model.name} makes {model.catalog.modality}; this is for pictures and clips")
    return model
