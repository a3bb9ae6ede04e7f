"""Adams-Bashforth of order 2 on a flow."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from workers.core import Sample, Schedule, SolverState, combine
from workers.sampling.euler import Euler


class AdamsBashforth2(Euler):
    """x <- x + h ((1 + r / 2) v - (r / 2) v_before), with r = h / h_before; the first step is Euler's. NFE N.

    The line through the last two velocities, integrated over the step. Asks where Euler asks.

    Source: Hairer, Norsett and Wanner 1993, Solving ODEs I, III.5 (variable step sizes).
    """

    def start(self, schedule: Schedule, dtype: torch.dtype) -> SolverState:
        """`steps` holds two weights an evaluation: of its own output and of the one before."""
        lengths = [after - now for now, after in pairwise(schedule.sigmas)]
        weights: list[float] = []
        for length, before in zip(lengths, [-math.inf, *lengths], strict=False):
            lean = length / (2 * before)
            weights += [length * (1 + lean), -length * lean]
        return SolverState(schedule, steps=tuple(weights))

    def tell(self, sample: Sample, output: Tensor) -> None:
        index, history = sample.evaluation, sample.solver.history
        now, before = sample.solver.steps[2 * index : 2 * index + 2]
        tensors = (output, sample.latents, history.get("output", output))
        sample.latents = combine(tensors, (now, 1.0, before))
        history["output"] = output
        sample.evaluation += 1
