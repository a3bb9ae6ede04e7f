"""What comes out of an engine."""

from __future__ import annotations

from dataclasses import dataclass

from PIL.Image import Image
from torch import Tensor

from protocol.receipts import Receipt, SampleReceipt
from workers.models import Frames


@dataclass(frozen=True, slots=True)
class SampleResult:
    """One finished sample: a picture or a clip. `latents` are as diffusers gives them for "latent" output."""

    seed: int
    latents: Tensor
    image: Image | None
    video: Frames | None
    receipt: SampleReceipt


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
