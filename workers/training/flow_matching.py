"""Flow matching as both small denoisers are trained: noise levels, guidance in the target, a rank's step.

The target is v = noise - x0 at x = (1 - sigma) x0 + sigma noise. In the last `guided_steps` it becomes
v + w (model(x, caption) - model(x, "")), both without gradient ("Diffusion models without classifier-free
guidance", Tang et al. 2025, equation 8): one lane then samples as guidance 1 / (1 - w) would with two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from workers.training.averaging import AveragedTrainee, Network
from workers.training.optimisers import Optimisers
from workers.training.resumable import step_seed
from workers.training.settings import TransformerSettings

_UNIFORM_SHARE = 0.15  # of the noise levels are uniform, so that neither end is forgotten


class FlowTrainee(ABC, AveragedTrainee[Network]):
    """One rank of the joint training; all ranks hold the same weights, each takes its slice of the batch.

    A subclass says what its latents are and what a batch of them loses.
    """

    settings: TransformerSettings
    name: ClassVar[str]
    """Of the model; every draw is seeded by it."""
    latent_shape: ClassVar[tuple[int, ...]]
    sigma_shift: ClassVar[float] = 1.0

    def __init__(
        self,
        settings: TransformerSettings,
        seed: int,
        model: Network,
        optimisers: Optimisers,
        *,
        pool_size: int,
        rank: int,
    ) -> None:
        super().__init__(settings, model, optimisers)
        self.seed, self.pool_size, self.rank = seed, pool_size, rank

    def step(self, index: int) -> float:
        """One optimiser step; the global batch depends on (seed, index) and not on the number of ranks."""
        settings = self.settings
        generator = torch.Generator().manual_seed(step_seed(self.name, self.seed, index))
        rows = torch.randint(self.pool_size, (settings.batch,), generator=generator)
        noise = torch.randn(settings.batch, *self.latent_shape, generator=generator)
        sigma = self.levels(settings.batch, generator)
        dropped = torch.rand(settings.batch, generator=generator) < settings.caption_dropout
        mine = slice(self.rank, None, settings.ranks)
        guided = index >= settings.num_steps - settings.guided_steps
        loss = self.loss(rows[mine], noise[mine], sigma[mine], dropped[mine], guided)
        torch.autograd.backward(loss)
        self.optimisers.step(index)
        self.average_weights(index)
        return float(loss.detach())

    def levels(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise levels (B,) of a batch."""
        return sample_sigma(count, generator, self.sigma_shift)

    @abstractmethod
    def loss(self, rows: Tensor, noise: Tensor, sigma: Tensor, dropped: Tensor, guided: bool) -> Tensor:
        """Mean square of the velocity's error.

        Args:
            rows: (B,), of the pool.
            noise: (B, *latent_shape).
            sigma: (B,).
            dropped: (B,), rows that see the empty caption.
            guided: whether guidance is in the target.
        """


def guided_target(
    target: Tensor, predicted: Tensor, unconditional: Tensor, dropped: Tensor, weight: float
) -> Tensor:
    """The target of rows that see their caption, moved away from the prediction without one (equation 8)."""
    rows = dropped.view(-1, *(1,) * (target.ndim - 1))
    return target + torch.where(rows, 0.0, weight * (predicted - unconditional))


def sample_sigma(count: int, generator: torch.Generator, shift: float) -> Tensor:
    """Noise levels (B,): logit-normal with a uniform share, shifted as the scheduler shifts its grid."""
    normal = torch.sigmoid(torch.randn(count, generator=generator))
    uniform = torch.rand(count, generator=generator)
    choose = torch.rand(count, generator=generator) < _UNIFORM_SHARE
    level = torch.where(choose, uniform, normal)
    return shift * level / (1 + (shift - 1) * level)
