"""Samples of a trained denoiser by Euler's method, in parts that are kept, so that a stopped call goes on.

This is the plainest sampler, at as many evaluations as it needs: what is measured is the network.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.models.sedd import Sedd
from workers.training.discrete.settings import SampleSettings
from workers.training.resumable import Deadline, step_seed

SIGMA_MIN = 1e-3
"""Where the last Euler step ends; the denoising step goes on from there to 0."""

Given = tuple[Tensor, Tensor]
"""Tokens (N, n) and where they are given, (N, n) bool."""


def sample_in_parts(
    model: Sedd, settings: SampleSettings, folder: Path, deadline: Deadline, given: Given | None = None
) -> NDArray[np.int64] | None:
    """`settings.num_samples` samples (N, n), from the parts in `folder` and new ones; None: time was up."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(0, settings.num_samples, settings.batch):
        path = folder / f"{start:06d}.npy"
        if not path.exists():
            if deadline.passed():
                return None
            count = min(settings.batch, settings.num_samples - start)
            here = (
                None if given is None else (given[0][start : start + count], given[1][start : start + count])
            )
            generator = torch.Generator().manual_seed(step_seed("samples", settings.seed, start))
            made = euler(model, count, settings.evaluations, generator, here)
            partial = path.with_suffix(".partial.npy")
            np.save(partial, made.numpy())
            partial.replace(path)
        parts.append(np.load(path))
    return np.concatenate(parts)


@torch.inference_mode()
def euler(
    model: Sedd, count: int, evaluations: int, generator: torch.Generator, given: Given | None = None
) -> Tensor:
    """Euler's steps between geometric noise levels, then one denoising step: (count, n).

    A token moves to a with probability (sigma - sigma_next) s_a / S; what sums to more is renormalised.
    Source: Lou et al. 2024, section 4, with differences of the total noise for rate times time step.
    """
    size, length = model.vocabulary.size, model.shapes.length
    sigmas = np.geomspace(_sigma_max(model), SIGMA_MIN, evaluations).tolist()
    tokens = torch.randint(size, (count, length), generator=generator)
    for sigma, sigma_next in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        tokens = _impose(tokens, given)
        ratios = model.score(tokens, torch.full((count,), sigma))
        step = _denoising if sigma_next == 0.0 else _euler_step
        tokens = _draw(step(ratios, tokens, sigma - sigma_next), generator)
    return _impose(tokens, given)


def _euler_step(ratios: Tensor, tokens: Tensor, width: float) -> Tensor:
    """Probabilities (B, n, S), not normalised."""
    moving = ratios * (width / ratios.shape[-1])
    moving = moving.scatter(-1, tokens[..., None], 0.0)
    staying = (1 - moving.sum(-1, keepdim=True)).clamp(min=0.0)
    return moving.scatter(-1, tokens[..., None], staying)


def _denoising(ratios: Tensor, tokens: Tensor, width: float) -> Tensor:
    """Probabilities (B, n, S) of the tokens at noise 0, not normalised: Tweedie's formula a token.

    Source: the analytic predictor of Lou et al.'s code.
    """
    size, growth = ratios.shape[-1], math.exp(width)
    staggered = growth * ratios + (1 - growth) / size * ratios.sum(-1, keepdim=True)
    moved = torch.full_like(ratios, (1 - 1 / growth) / size)
    stayed = torch.full_like(tokens, 1, dtype=ratios.dtype)[..., None] * (
        1 / growth + (1 - 1 / growth) / size
    )
    return (staggered * moved.scatter(-1, tokens[..., None], stayed)).clamp(min=0.0)


def _draw(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    rows = probabilities.flatten(0, -2)
    drawn = torch.multinomial(rows, 1, generator=generator)
    return drawn.view(probabilities.shape[:-1])


def _impose(tokens: Tensor, given: Given | None) -> Tensor:
    return tokens if given is None else torch.where(given[1], given[0], tokens)


def _sigma_max(model: Sedd) -> float:
    noise = model.scheduler_config
    return -math.log(noise["eps"]) if "eps" in noise else float(noise["sigma_max"])
