"""Progressive distillation of a flow: a student whose one step lands where two of its teacher's land.

A halving takes the schedule of 2 N steps and trains the student at its even levels. Every one of them is a
level of the N-step schedule too, so what comes out is the teacher of the next halving.

Source: Salimans and Ho 2022, "Progressive distillation for fast sampling of diffusion models", Algorithm 2,
on straight paths: there the velocity of a step follows from where it lands, and the loss is that of flow
matching.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from workers.core import Schedule
from workers.training.averaging import AveragedTrainee
from workers.training.optimisers import Optimisers
from workers.training.resumable import step_seed
from workers.training.video.architecture import LATENT_SHAPE
from workers.training.video.muon import FloatMuon
from workers.training.video.pipeline_folder import TextToVideo
from workers.training.video.pool import ClipPool
from workers.training.video.settings import HalvingSettings
from workers.training.video.wan_tiny import predict

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(latents (B, C, F, h, w), timestep (B,)) -> velocity, shaped as the latents."""


class Levels:
    """A schedule of an even number of steps as tensors; `steps` are half as many, the student's.

    Raises:
        ValueError: the number is odd.
    """

    def __init__(self, schedule: Schedule) -> None:
        count = len(schedule.timesteps)
        if count % 2:
            raise ValueError(f"{count} steps cannot be halved")
        self.steps = count // 2
        self._sigmas, self._timesteps = torch.tensor(schedule.sigmas), torch.tensor(schedule.timesteps)

    def sigma(self, step: Tensor) -> Tensor:
        """Noise levels (B,) at which the student's steps begin."""
        return self._sigmas[2 * step]

    def timestep(self, step: Tensor) -> Tensor:
        """What the network is told there, (B,)."""
        return self._timesteps[2 * step]

    def target(self, teacher: Velocity, latents: Tensor, step: Tensor) -> Tensor:
        """The velocity whose single Euler step lands where two of the teacher's Euler steps land.

        Args:
            teacher: evaluated twice.
            latents: (B, C, F, h, w), where the student's step begins.
            step: (B,), which of its steps it is.
        """
        sigma, middle, end = (_column(self._sigmas[2 * step + more], latents) for more in range(3))
        first = teacher(latents, self._timesteps[2 * step])
        second = teacher(latents + (middle - sigma) * first, self._timesteps[2 * step + 1])
        return torch.lerp(first, second, (end - middle) / (end - sigma))


class FewStepsTrainee(AveragedTrainee[TextToVideo]):
    """One rank of a halving; all ranks hold the same weights, each takes its slice of the batch.

    The text encoder is the teacher's and stays as it is: a checkpoint's student shares it.

    Args:
        settings, seed: of the stage.
        model: becomes the student; it begins as the teacher.
        teacher: guidance baked in, one lane.
        levels: of the teacher's schedule.
        pool: clean latents and captions.
        empty: the empty caption's ids, (1, 24).
    """

    settings: HalvingSettings

    def __init__(
        self,
        settings: HalvingSettings,
        seed: int,
        model: TextToVideo,
        teacher: TextToVideo,
        *,
        levels: Levels,
        pool: ClipPool,
        empty: Tensor,
        rank: int = 0,
    ) -> None:
        model.text_encoder.requires_grad_(False)
        super().__init__(settings, model, Optimisers(model, settings, rank, FloatMuon))
        self.seed, self.levels, self.pool, self.empty, self.rank = seed, levels, pool, empty, rank
        self.teacher = teacher.eval().requires_grad_(False)

    def step(self, index: int) -> float:
        """One optimiser step; the global batch depends on (seed, index) and not on the number of ranks."""
        settings = self.settings
        generator = torch.Generator().manual_seed(step_seed("few-steps", self.levels.steps, self.seed, index))
        rows = torch.randint(len(self.pool.latents), (settings.batch,), generator=generator)
        noise = torch.randn(settings.batch, *LATENT_SHAPE, generator=generator)
        step = torch.randint(self.levels.steps, (settings.batch,), generator=generator)
        dropped = torch.rand(settings.batch, generator=generator) < settings.caption_dropout
        mine = slice(self.rank, None, settings.ranks)
        loss = self._loss(rows[mine], noise[mine], step[mine], dropped[mine])
        torch.autograd.backward(loss)
        self.optimisers.step(index)
        self.average_weights(index)
        return float(loss.detach())

    def _loss(self, rows: Tensor, noise: Tensor, step: Tensor, dropped: Tensor) -> Tensor:
        ids = torch.where(dropped[:, None], self.empty, self.pool.ids[rows])
        latents = torch.lerp(self.pool.whitened(rows), noise, _column(self.levels.sigma(step), noise))
        with torch.no_grad():
            target = self.levels.target(_velocity(self.teacher, ids), latents, step)
        predicted = _velocity(self.model, ids)(latents, self.levels.timestep(step))
        return nn.functional.mse_loss(predicted, target)


def _velocity(model: TextToVideo, ids: Tensor) -> Velocity:
    return lambda latents, timestep: predict(model, latents, timestep / 1000, ids)


def _column(numbers: Tensor, latents: Tensor) -> Tensor:
    """A number a row, to be broadcast over it."""
    return numbers.view(-1, *(1,) * (latents.ndim - 1))
