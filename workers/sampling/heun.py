"""Heun's method on a flow."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from workers.core import Sample, Schedule, SolverState, combine
from workers.sampling.euler import Euler, euler_step


class Heun(Euler):
    """Euler's step, then again with the mean of the velocities at its two ends; the last step is Euler's.

    NFE 2N - 1. Its memory's schedule has an entry an evaluation: s0, s1, s1, s2, s2, ..., 0; so it asks where
    Euler asks.

    Source: Karras et al. 2022 (EDM), Algorithm 1, on a flow.
    """

    def start(self, schedule: Schedule, dtype: torch.dtype) -> SolverState:
        """`steps` holds the step of an even evaluation, half of it for the odd one after."""
        lengths = [after - now for now, after in pairwise(schedule.sigmas)]
        halves = [part for length in lengths for part in (length, length / 2)]
        doubled = Schedule(
            sigmas=(*_twice(schedule.sigmas[:-1]), schedule.sigmas[-1]),
            timesteps=_twice(schedule.timesteps),
        )
        return SolverState(doubled, steps=tuple(halves[:-1]))

    def tell(self, sample: Sample, output: Tensor) -> None:
        step, history = sample.solver.steps[sample.evaluation], sample.solver.history
        if sample.evaluation % 2:
            tensors = (output, history.pop("output"), history.pop("latents"))
            sample.latents = combine(tensors, (step, step, 1.0))
        else:
            history.update(output=output, latents=sample.latents)
            sample.latents = euler_step(sample.latents, output, step)
        sample.evaluation += 1


def _twice(levels: tuple[float, ...]) -> tuple[float, ...]:
    """All but the first twice."""
    return levels[:1] + tuple(level for level in levels[1:] for _ in range(2))
