"""Draw from a run's network as JLT does: Heun on an even grid, Euler last, guided inside an interval.

Source: Fu et al. 2026 (JLT, arXiv:2605.27102), public code, with sigma = 1 - t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from workers.core import to_flow
from workers.sampling import guide
from workers.training.jlt.latents import Frame, LatentPool
from workers.training.jlt.network import Denoiser
from workers.training.jlt.settings import Arm, SamplingSettings

Velocity = Callable[[Tensor, float], Tensor]
Texts = tuple[Tensor, Tensor]
"""Pooled and sequence embeddings of captions, see `Frozen.texts`."""


def heun(velocity: Velocity, noise: Tensor, num_steps: int) -> Tensor:
    """Where the flow takes noise (B, ...) in N even steps, the last one Euler's: 2 N - 1 evaluations."""
    latents = noise
    sigmas = [1 - step / num_steps for step in range(num_steps)] + [0.0]
    for sigma, after in pairwise(sigmas):
        slope = velocity(latents, sigma)
        if after:
            slope = (slope + velocity(latents + (after - sigma) * slope, after)) / 2
        latents = latents + (after - sigma) * slope
    return latents


@dataclass(frozen=True)
class Sampler:
    """Draws from one arm's network.

    Attributes:
        network: in evaluation.
        arm: says what it predicts.
        frame: in which it sees latents.
        pool: has the empty caption's text.
        settings: steps, guidance's interval, clamp.
    """

    network: Denoiser
    arm: Arm
    frame: Frame
    pool: LatentPool
    settings: SamplingSettings

    @torch.inference_mode()
    def draw(self, texts: Texts, weight: float) -> Tensor:
        """A sample a caption, as plain latents (N, 64, 32); noise depends on the settings' seed alone."""
        settings, generator = self.settings, torch.Generator().manual_seed(self.settings.seed)
        noise = torch.randn(len(texts[0]), *self.pool.latents.shape[1:], generator=generator)
        parts = zip(*(torch.split(each, settings.batch) for each in (noise, *texts)), strict=True)
        made = [
            heun(self.velocity((pooled, sequence), weight), part, settings.num_steps)
            for part, pooled, sequence in parts
        ]
        return self.frame.leave(torch.cat(made))

    def velocity(self, texts: Texts, weight: float) -> Velocity:
        """The flow (B, S, C) for B captions, guided where there is enough data in the latents to guide."""
        empty = (self.pool.empty_pooled.float(), self.pool.empty_sequence.float())

        def guided(latents: Tensor, sigma: float) -> Tensor:
            cond = self._flow(latents, sigma, texts)
            if weight == 1.0 or 1 - sigma <= self.settings.guided_from:
                return cond
            pooled, sequence = (each.expand(len(cond), *each.shape[1:]) for each in empty)
            uncond = self._flow(latents, sigma, (pooled, sequence))
            return guide(torch.stack((cond, uncond)), weight)[0]

        return guided

    def _flow(self, latents: Tensor, sigma: float, texts: Texts) -> Tensor:
        output = self.network(latents, torch.full((len(latents),), sigma), *texts)
        return to_flow(self.arm.target, output, latents, sigma, self.settings.clamp)
