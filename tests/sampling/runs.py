"""Samples, whole runs of a solver, and an ODE whose solution is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from protocol.plan import Plan
from workers.core import Condition, Grid, Ledger, Sample, Schedule, Stack
from workers.sampling import make_solver

Velocity = Callable[[Tensor, float], Tensor]


def make_sample(solver: str, latents: Tensor, schedule: Schedule) -> Sample:
    """A sample about to start."""
    return Sample(
        key="job/0",
        seed=0,
        plan=Plan(
            methods=(),
            num_inference_steps=len(schedule.timesteps),
            solver=solver,
            granted_flop=1,
            full_flop=1,
        ),
        grid=Grid(1, 1),
        lanes=(Condition(()),),
        guidance_scale=1.0,
        latents=latents,
        solver=make_solver(solver).start(schedule, latents.dtype),
        stack=Stack(),
        ledger=Ledger(1),
    )


def levels(*sigmas: float) -> Schedule:
    """A schedule of these noise levels."""
    return Schedule(sigmas, tuple(1000 * sigma for sigma in sigmas[:-1]))


def even(steps: int, shift: float = 1.0) -> Schedule:
    """Equal steps from 1 to 0, shifted towards the noise; in float32, as schedules are."""
    shares = torch.linspace(1, 0, steps + 1)
    return levels(*(shift * shares / (1 + (shift - 1) * shares)).tolist())


def walk(solver: str, velocity: Velocity, latents: Tensor, schedule: Schedule) -> list[Tensor]:
    """The latents after every evaluation of a whole run."""
    sample, rule, path = make_sample(solver, latents, schedule), make_solver(solver), []
    while (point := rule.ask(sample)) is not None:
        rule.tell(sample, velocity(point.latents, point.sigma))
        path.append(sample.latents)
    return path


def follow(scheduler: Any, velocity: Velocity, latents: Tensor) -> list[Tensor]:
    """The same by a scheduler of diffusers, at the noise levels it holds."""
    scheduler.set_begin_index(0)
    path = []
    for sigma, timestep in zip(scheduler.sigmas.tolist(), scheduler.timesteps, strict=False):
        latents = scheduler.step(velocity(latents, sigma), timestep, latents, return_dict=False)[0]
        path.append(latents)
    return path


def largest_gap(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference of any element at any evaluation."""
    return max(float((one - other).abs().max()) for one, other in zip(ours, theirs, strict=True))


def tell_each(solver: str, start: float, schedule: Schedule, outputs: Sequence[float]) -> list[float]:
    """The latents, one number, after each of these outputs."""
    told = iter(outputs)
    path = walk(solver, lambda *_: torch.tensor([[[next(told)]]]), torch.tensor([[[start]]]), schedule)
    return [latents.item() for latents in path]


def mixing(seed: int = 0) -> tuple[Tensor, Velocity]:
    """Noise (1, 16, 32), and a velocity that mixes its channels and bends with the noise level."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 16, 32, generator=generator)
    weights = torch.randn(32, 32, generator=generator) / math.sqrt(32)
    return noise, lambda latents, sigma: (1 + sigma**2) * torch.tanh(latents @ weights) - latents / 4


@dataclass(frozen=True)
class Gaussian:
    """Data from N(mean, deviation^2): a flow with a velocity and a solution in closed form.

    x has mean (1 - sigma) m and variance V = (1 - sigma)^2 d^2 + sigma^2; along the flow (x - mean) / sqrt(V)
    stays what it was, so noise z ends at m + d z.
    """

    mean: float = 0.7
    deviation: float = 0.4

    def velocity(self, latents: Tensor, sigma: float) -> Tensor:
        clean, spread = 1 - sigma, self.deviation**2
        slope = (sigma - clean * spread) / (clean**2 * spread + sigma**2)
        return slope * (latents - clean * self.mean) - self.mean

    def end(self, noise: Tensor) -> Tensor:
        return self.mean + self.deviation * noise

    def error(self, solver: str, schedule: Schedule) -> float:
        """How far a run ends from the solution; in double precision, root mean square over ten starts."""
        noise = torch.linspace(-2, 2.5, 10, dtype=torch.float64).reshape(1, 1, 10)
        last = walk(solver, self.velocity, noise, schedule)[-1]
        return math.sqrt(float((last - self.end(noise)).square().mean()))
