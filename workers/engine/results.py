"""What comes out of an engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL.Image import Image
from torch import Tensor

from protocol.receipts import Receipt, SampleReceipt
from workers.models import Frames, Piece

Decoded = Image | Frames | str | Piece
"""A picture, a clip, a text or a piece of music."""


@dataclass(frozen=True, slots=True)
class SampleResult:
    """One finished sample: a picture, a clip, a text or a piece of music.

    `latents` are as diffusers gives them for "latent" output, or a sequence's tokens (1, n); `decoded` is
    None where nothing else is wanted.
    """

    seed: int
    latents: Tensor
    decoded: Decoded | None
    receipt: SampleReceipt

    @property
    def image(self) -> Image | None:
        return self.decoded if isinstance(self.decoded, Image) else None

    @property
    def video(self) -> Frames | None:
        """The clip's frames."""
        return self.decoded if isinstance(self.decoded, np.ndarray) else None

    @property
    def text(self) -> str | None:
        return self.decoded if isinstance(self.decoded, str) else None

    @property
    def piece(self) -> Piece | None:
        """The music."""
        return self.decoded if isinstance(self.decoded, Piece) else None

    @property
    def tokens(self) -> list[int] | None:
        """Of a sequence."""
        whole = not self.latents.is_floating_point()
        return self.latents[0].tolist() if whole else None


@dataclass(frozen=True, slots=True)
class Result:
    """One finished job. `stage_seconds` has encode, denoise (its share of shared turns) and decode."""

    id: str
    samples: tuple[SampleResult, ...]
    receipt: Receipt
    stage_seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class TurnReport:
    """The last turn that moved anything: samples moved, wall seconds, FLOP of the denoiser."""

    model: str
    rows: int
    seconds: float
    flop: int
