"""A model's own prompts with their unabridged runs: the material every calibration is fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from protocol.jobs import GenerationRequest
from protocol.resolve import resolve, seeds
from workers.core import Batch, Condition, Grid, Network, Schedule, condition_features, head_flow
from workers.engine.stages import conditions_of
from workers.models import Model
from workers.sampling import flow_schedule, guide, initial_noise
from workers.training.calibration.course import Course
from workers.training.calibration.routing import Routing, routing_of

_CHUNK = 16


@dataclass(frozen=True)
class Probe:
    """B prompts of one model, each with a seed; all else is the model's default.

    Latents have the family's own shape, (B, S, C) or (B, C, F, h, w).

    Attributes:
        course: the model's own solver on `schedule`.
        guidance_scale: combines two lanes; unused with one.
        conditions: tensors (B, L, ...) as the network takes them, L lanes a prompt, the prompt's own first.
        scalars: numbers (B, L), likewise.
        noise: (B, ...), where the runs start.
        outputs: (B, N, ...), what the solver was told along the unabridged runs: of two lanes guided.
        final: (B, ...), where these ended.
        routing: the learned router all evaluations run under, if the model has one.
    """

    network: Network
    grid: Grid
    schedule: Schedule
    course: Course
    guidance_scale: float
    conditions: tuple[Tensor, ...]
    scalars: tuple[Tensor, ...]
    noise: Tensor
    outputs: Tensor
    final: Tensor
    routing: Routing | None = None

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

    def evaluate(
        self, latents: Tensor, index: int, rows: Tensor, blocks: Sequence[bool] | None = None
    ) -> Tensor:
        """What the solver is told at step `index` for these rows' latents (R, ...).

        Args:
            blocks: which run (N,); None: those of the routing, all of them without one.
        """
        parts = zip(torch.split(latents, _CHUNK), torch.split(rows, _CHUNK), strict=True)
        return torch.cat([self._evaluate(part, index, which, blocks) for part, which in parts])

    def logits(self, latents: Tensor, index: int, rows: Tensor) -> Tensor:
        """The router's (R, N), for these rows' latents (R, ...) at step `index`."""
        assert self.routing is not None, "only asked of a model with a router"
        timestep = torch.full((len(rows),), self.schedule.timesteps[index], device=latents.device)
        text = condition_features([tensor[rows, 0] for tensor in self.conditions])
        logits: Tensor = self.routing.router(timestep, latents, text)
        return logits

    def distance(self, latents: Tensor, rows: Tensor) -> Tensor:
        """Relative L2 distance (R,) to the unabridged runs' ends."""
        return relative(latents, self.final[rows])

    def take(self, rows: Tensor) -> Probe:
        """These prompts only."""
        return replace(
            self,
            conditions=tuple(tensor[rows] for tensor in self.conditions),
            scalars=tuple(tensor[rows] for tensor in self.scalars),
            noise=self.noise[rows],
            outputs=self.outputs[rows],
            final=self.final[rows],
        )

    def trajectory(self) -> Iterator[Tensor]:
        """Where the unabridged runs stood before each step, (B, ...)."""
        sample = self.course.start(self.noise)
        for index in range(self.num_steps):
            yield sample.latents
            sample = self.course.move(sample, self.outputs[:, index])

    def batch(self, latents: Tensor, index: int, rows: Tensor, lanes: int) -> Batch:
        """The first `lanes` lanes of these prompts at step `index`, in the engine's order."""
        count = lanes * len(rows)
        return Batch(
            latents.repeat_interleave(lanes, 0),
            torch.full((count,), self.schedule.timesteps[index], device=latents.device),
            tuple(tensor[rows, :lanes].flatten(0, 1) for tensor in self.conditions),
            tuple(numbers[rows, :lanes].flatten(0, 1) for numbers in self.scalars),
            self.grid,
        )

    def _evaluate(self, latents: Tensor, index: int, rows: Tensor, blocks: Sequence[bool] | None) -> Tensor:
        lanes = self.conditions[0].shape[1]
        stream = self.network.embed(self.batch(latents, index, rows, lanes))
        runs = self._runs(latents, index, rows, blocks).repeat_interleave(lanes, 0)
        for block in range(self.network.layout.num_blocks):
            if part := runs[:, block].nonzero().flatten().tolist():
                stream = stream.set(part, self.network.block(block, stream.take(part)))
        outputs = torch.split(self.network.head(stream), lanes)
        as_flow, sigma = head_flow(self.network.layout), self.schedule.sigmas[index]
        flows = [as_flow(each, at, sigma) for each, at in zip(outputs, torch.split(latents, 1), strict=True)]
        return torch.cat([guide(prompt, self.guidance_scale) for prompt in flows])

    def _runs(self, latents: Tensor, index: int, rows: Tensor, blocks: Sequence[bool] | None) -> Tensor:
        """Which row runs which block, (R, N) bool."""
        if blocks is None and self.routing is not None:
            return self.routing.blocks(self.logits(latents, index, rows), index)
        chosen = [True] * self.network.layout.num_blocks if blocks is None else list(blocks)
        return torch.tensor(chosen).expand(len(rows), -1)


def relative(latents: Tensor, reference: Tensor) -> Tensor:
    """||latents - reference|| / ||reference||, a row (R,), in float32."""
    ours, theirs = latents.float().flatten(1), reference.float().flatten(1)
    distance: Tensor = (ours - theirs).norm(dim=1) / theirs.norm(dim=1)
    return distance


def standard_request(model: Model, prompt: str, seed: int) -> GenerationRequest:
    """The request a calibration stands for: a prompt and a seed, and the model's defaults."""
    asked = GenerationRequest.model_validate({"model": model.name, "input": {"prompt": prompt, "seed": seed}})
    return resolve(asked, model.catalog)


@torch.inference_mode()
def make_probe(
    model: Model, prompts: Sequence[str], first_seed: int, known: Mapping[str, Tensor] | None = None
) -> Probe:
    """Encode the prompts, draw their noise (seeds counted up) and run them unabridged.

    A model with a router is unabridged on the line it was trained on.

    Args:
        prompts: at least one.
        known: `outputs` and `final` of runs made before.
    """
    requests = [standard_request(model, prompt, first_seed + place) for place, prompt in enumerate(prompts)]
    blank = _blank(model, requests)
    outputs, final = (known["outputs"], known["final"]) if known else _run(blank)
    return replace(blank, outputs=outputs, final=final)


def _blank(model: Model, requests: Sequence[GenerationRequest]) -> Probe:
    """A probe that has not run."""
    given = requests[0].input
    assert given.width is not None, "resolve() fills the size"
    assert given.height is not None, "resolve() fills the size"
    assert given.num_inference_steps is not None, "resolve() fills the steps"
    grid = model.grid(given.width, given.height, given.num_frames)
    schedule = flow_schedule(model.scheduler_config, given.num_inference_steps, grid.num_tokens)
    lanes = [conditions_of(model, request, grid) for request in requests]
    noise = torch.cat([_noise(model, grid, request) for request in requests])
    return Probe(
        network=model.network,
        grid=grid,
        schedule=schedule,
        course=Course(model.catalog.solver, schedule, model.dtype),
        guidance_scale=given.guidance_scale or 1.0,
        conditions=_tensors(lanes),
        scalars=_scalars(lanes),
        noise=noise,
        outputs=noise[:, None],
        final=noise,
        routing=routing_of(model.depth_router, model.catalog.shapes, schedule),
    )


def _noise(model: Model, grid: Grid, request: GenerationRequest) -> Tensor:
    """Where the request's run starts, (1, ...)."""
    (seed,) = seeds(request)
    return model.pack(initial_noise(model.noise_shape(grid), seed, model.latents_dtype, model.device))


def _tensors(prompts: Sequence[Sequence[Condition]]) -> tuple[Tensor, ...]:
    """Each (B, L, ...)."""
    lanes = [zip(*(lane.tensors for lane in prompt), strict=True) for prompt in prompts]
    columns = zip(*([torch.cat(parts) for parts in prompt] for prompt in lanes), strict=True)
    return tuple(torch.stack(column) for column in columns)


def _scalars(prompts: Sequence[Sequence[Condition]]) -> tuple[Tensor, ...]:
    """Each (B, L)."""
    lanes = [zip(*(lane.scalars for lane in prompt), strict=True) for prompt in prompts]
    return tuple(torch.tensor(column) for column in zip(*lanes, strict=True))


def _run(probe: Probe) -> tuple[Tensor, Tensor]:
    """The unabridged runs, with the model's own solver."""
    sample, rows, outputs = probe.course.start(probe.noise), torch.arange(len(probe)), []
    for index in range(probe.num_steps):
        outputs.append(probe.evaluate(sample.latents, index, rows))
        sample = probe.course.move(sample, outputs[-1])
    return torch.stack(outputs, 1), sample.latents
