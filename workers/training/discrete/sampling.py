"""Samples of a trained denoiser by Euler's method, in parts that are kept, so that a stopped call goes on.

This is the plainest sampler, at as many evaluations as it needs: what is measured is the network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.models.sedd import Sedd
from workers.sampling.discrete import sample
from workers.training.discrete.settings import SampleSettings
from workers.training.resumable import Deadline, step_seed

SIGMA_MIN = 1e-3
"""Where the last Euler step ends; the denoising step goes on from there to 0."""

Given = tuple[Tensor, Tensor]
"""Where tokens are given, (N, n) bool, and the tokens (N, n)."""


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


def euler(
    model: Sedd, count: int, evaluations: int, generator: torch.Generator, given: Given | None = None
) -> Tensor:
    """Euler's steps between geometric noise levels and one denoising step, (count, n)."""
    return sample(
        model.score,
        num_tokens=model.shapes.length,
        vocab_size=model.vocabulary.size,
        nfe=evaluations,
        corrector="none",
        predictor="euler",
        batch=count,
        given=given,
        generator=generator,
        sigma_max=model.sigma_max,
        sigma_min=SIGMA_MIN,
    )
