"""What comes out of an engine."""

from __future__ import annotations

from dataclasses import dataclass

from PIL.Image import Image
from torch import Tensor

from protocol.receipts import Receipt, SampleReceipt


@dataclass(frozen=True, slots=True)
class SampleResult:
    """One finished sample. `latents` is (1, S, C), as diffusers gives them for output_type="latent"."""

    seed: int
    latents: Tensor
    image: Image
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
