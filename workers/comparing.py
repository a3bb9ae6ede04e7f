"""How far two runs of one sample are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from workers.engine import SampleResult

_WHITE = 255.0
_TINY = 1e-12
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sample came to, in the host's memory: latents, and pixels (H, W, 3) or (F, H, W, 3)."""

    latents: Tensor
    pixels: Pixels | None


def outcome_of(sample: SampleResult) -> Outcome:
    """A finished sample without what ties it to a device."""
    pixels = sample.video if sample.image is None else np.asarray(sample.image)
    return Outcome(sample.latents.detach().to("cpu"), pixels)


def outcome_bytes(outcome: Outcome) -> int:
    """The memory it holds."""
    pixels = 0 if outcome.pixels is None else outcome.pixels.nbytes
    return outcome.latents.nbytes + pixels


def distances(outcome: Outcome, full: SampleResult) -> tuple[float, float | None]:
    """From the unabridged run: of latents and of pixels.

    Returns:
        The L2 norm of the latents' difference over that of the unabridged ones, as calibrations have it; the
        root mean square of the pixels' difference, black to white being 1, None where there are no pixels.
    """
    reference = outcome_of(full)
    ours, theirs = outcome.latents.double(), reference.latents.double()
    latents = float((ours - theirs).norm() / theirs.norm().clamp_min(_TINY))
    if outcome.pixels is None or reference.pixels is None:
        return latents, None
    apart = outcome.pixels.astype(np.float32) - reference.pixels.astype(np.float32)
    return latents, float(np.sqrt(np.square(apart, dtype=np.float64).mean()) / _WHITE)
