"""A model's own prompts with their unabridged runs: the material every calibration is fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from workers.core import Batch, Grid, Network, Schedule
from workers.models import Model
from workers.sampling import flow_schedule, initial_noise

_CHUNK = 16


@dataclass(frozen=True)
class Probe:
    """B prompts of one model, each with a seed, at the model's default size and steps.

    Attributes:
        conditions: per-row tensors (B, ...), as the network takes them.
        scalars: per-row numbers (B,), likewise.
        noise: (B, S, C), where the runs start.
        outputs: (B, N, S, C), what the network said along the unabridged runs.
        final: (B, S, C), where these ended.
    """

    network: Network
    grid: Grid
    schedule: Schedule
    conditions: tuple[Tensor, ...]
    scalars: tuple[Tensor, ...]
    noise: Tensor
    outputs: Tensor
    final: Tensor

    def __len__(self) -> int:
        return len(self.noise)

    @property
    def num_steps(self) -> int:
        return len(self.schedule.timesteps)

    @property
    def steps(self) -> tuple[float, ...]:
        """sigma_next - sigma of each step; negative."""
        sigmas = self.schedule.sigmas
        return tuple(after - before for before, after in pairwise(sigmas))

    def evaluate(self, latents: Tensor, index: int, rows: Tensor) -> Tensor:
        """The network's output at step `index` for these rows' latents (R, S, C)."""
        parts = zip(torch.split(latents, _CHUNK), torch.split(rows, _CHUNK), strict=True)
        return torch.cat([self._evaluate(part.contiguous(), index, which) for part, which in parts])

    def distance(self, latents: Tensor, rows: Tensor) -> Tensor:
        """Relative L2 distance (R,) to the unabridged runs' ends."""
        return relative(latents, self.final[rows])

    def take(self, rows: Tensor) -> Probe:
        """These prompts only."""
        return Probe(
            self.network,
            self.grid,
            self.schedule,
            tuple(tensor[rows] for tensor in self.conditions),
            tuple(tensor[rows] for tensor in self.scalars),
            self.noise[rows],
            self.outputs[rows],
            self.final[rows],
        )

    def _evaluate(self, latents: Tensor, index: int, rows: Tensor) -> Tensor:
        timestep = torch.full((len(rows),), self.schedule.timesteps[index], device=latents.device)
        batch = Batch(
            latents,
            timestep,
            tuple(tensor[rows] for tensor in self.conditions),
            tuple(tensor[rows] for tensor in self.scalars),
            self.grid,
        )
        stream, everyone = self.network.embed(batch), range(len(rows))
        for block in range(self.network.layout.num_blocks):
            stream = stream.set(everyone, self.network.block(block, stream))
        return self.network.head(stream)


def relative(latents: Tensor, reference: Tensor) -> Tensor:
    """||latents - reference|| / ||reference||, a row (R,), in float32."""
    ours, theirs = latents.float().flatten(1), reference.float().flatten(1)
    distance: Tensor = (ours - theirs).norm(dim=1) / theirs.norm(dim=1)
    return distance


@torch.inference_mode()
def make_probe(
    model: Model, prompts: Sequence[str], first_seed: int, known: Mapping[str, Tensor] | None = None
) -> Probe:
    """Encode the prompts, draw their noise (seeds counted up) and run them unabridged, one lane each.

    Args:
        known: `outputs` and `final` of runs made before.
    """
    defaults = model.catalog.defaults
    grid = model.grid(defaults.width, defaults.height)
    schedule = flow_schedule(model.scheduler_config, defaults.num_inference_steps, grid.num_tokens)
    encoded = [model.encode(prompt, defaults.guidance_scale) for prompt in prompts]
    shape = model.noise_shape(grid)
    noise = torch.cat(
        [
            model.pack(initial_noise(shape, first_seed + place, model.dtype, model.device))
            for place in range(len(prompts))
        ]
    )
    blank = Probe(
        model.network,
        grid,
        schedule,
        tuple(torch.cat(parts) for parts in zip(*(one.tensors for one in encoded), strict=True)),
        tuple(torch.tensor(column) for column in zip(*(one.scalars for one in encoded), strict=True)),
        noise,
        noise[:, None],
        noise,
    )
    outputs, final = (known["outputs"], known["final"]) if known else _run(blank)
    return replace(blank, outputs=outputs, final=final)


def _run(probe: Probe) -> tuple[Tensor, Tensor]:
    """Euler through all steps, as an unabridged run."""
    latents, rows, outputs = probe.noise, torch.arange(len(probe)), []
    for index, step in enumerate(probe.steps):
        outputs.append(probe.evaluate(latents, index, rows))
        latents = (latents.float() + step * outputs[-1].float()).to(latents.dtype)
    return torch.stack(outputs, 1), latents
