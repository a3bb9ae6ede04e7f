"""Euler's method on a flow."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.core import Point, Sample, Schedule, SolverState


class Euler:
    """x <- x + (sigma_next - sigma) v. NFE N.

    Source: Liu et al. 2022 (rectified flow); rounding as in diffusers' FlowMatchEulerDiscreteScheduler.
    """

    def start(self, schedule: Schedule, dtype: torch.dtype) -> SolverState:
        """Work out the steps once. diffusers rounds a step to the output's dtype before the product."""
        sigmas = torch.tensor(schedule.sigmas, dtype=torch.float32)
        steps = (sigmas[1:] - sigmas[:-1]).to(dtype)
        return SolverState(schedule, steps=tuple(steps.tolist()))

    def ask(self, sample: Sample) -> Point | None:
        schedule, index = sample.solver.schedule, sample.evaluation
        if index == len(schedule.timesteps):
            return None
        return Point(sample.latents, schedule.sigmas[index], schedule.timesteps[index])

    def tell(self, sample: Sample, output: Tensor) -> None:
        sample.latents = euler_step(sample.latents, output, sample.solver.steps[sample.evaluation])
        sample.evaluation += 1


def euler_step(latents: Tensor, output: Tensor, step: float) -> Tensor:
    """Move latents along the output by `step` (negative), in float32; the result has the output dtype."""
    return (latents.to(torch.float32) + step * output).to(output.dtype)
