"""A pool of noise, and settings small enough for a test."""

from __future__ import annotations

import pytest
import torch

from workers.training.jlt.latents import LatentPool
from workers.training.jlt.settings import (
    JltSettings,
    JltTrainingSettings,
    LatentPoolSettings,
    NetworkSettings,
    SamplingSettings,
)

TINY = JltSettings(
    seeds=(5,),
    processes=1,
    network=NetworkSettings(num_layers=1, num_single_layers=1, num_attention_heads=2),
    pool=LatentPoolSettings(num_scenes=6, batch=4),
    training=JltTrainingSettings(num_steps=4, warmup_steps=1, decay_steps=2, batch=4, milestones=(2, 4)),
    sampling=SamplingSettings(num_images=3, num_steps=2, sweep=(1.0,), batch=2),
)


@pytest.fixture(scope="session")
def tiny() -> JltSettings:
    return TINY


@pytest.fixture(scope="session")
def pool() -> LatentPool:
    """Latents whose channels have deviations from 1 to 1/32, correlated by a mixing of neighbours."""
    generator = torch.Generator().manual_seed(0)
    scales = 1 / torch.arange(1, 33)
    latents = torch.randn(40, 64, 32, generator=generator) * scales
    latents = latents + 0.5 * latents.roll(1, -1) + 0.25
    texts = [torch.randn(40, 128, generator=generator), torch.randn(40, 16, 128, generator=generator)]
    empty = [torch.zeros(1, 128), torch.zeros(1, 16, 128)]
    return LatentPool(*(tensor.half() for tensor in (latents, *texts, *empty)))
