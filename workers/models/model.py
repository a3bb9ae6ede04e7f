"""What the engine asks of a loaded model, whatever its family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from protocol.calibration import Calibration
from protocol.catalog import CatalogEntry
from workers.core import Condition, Grid, Network


class Model(Protocol):
    """A network with its text encoders, its decoder and its catalog entry.

    `pipeline` is diffusers' own, sharing the same modules.
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
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def scheduler_config(self) -> Mapping[str, Any]: ...

    def grid(self, width: int, height: int) -> Grid:
        """The tokens of an image of this many pixels."""
        ...

    def noise_shape(self, grid: Grid) -> tuple[int, ...]:
        """The shape in which initial noise is drawn, (1, C, h, w)."""
        ...

    def pack(self, noise: Tensor) -> Tensor:
        """Noise (1, C, h, w) as the network's tokens (1, S, C')."""
        ...

    def encode(self, prompt: str, guidance_scale: float | None) -> Condition:
        """One prompt, encoded alone. The scale matters to guidance-distilled networks only."""
        ...

    def decode(self, latents: Tensor, grid: Grid) -> Image:
        """One sample's latents (1, S, C'), decoded alone."""
        ...
