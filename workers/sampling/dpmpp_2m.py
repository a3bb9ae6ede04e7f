"""DPM-Solver++(2M) on a flow, and the data-prediction algebra that UniPC shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workers.core import Sample, Schedule, SolverState, combine
from workers.sampling.euler import Euler


class DpmSolverPp2M(Euler):
    """Second order in lambda = log((1 - sigma) / sigma), on predictions of the data. NFE N.

    The first and the last step are of first order, which on a flow is Euler's step. From sigma = 1, where
    lambda is -inf, so is the second. Asks where Euler asks.

    Source: Lu et al. 2022 (DPM-Solver++), Algorithm 2; choices as in diffusers'
        DPMSolverMultistepScheduler.
    """

    def start(self, schedule: Schedule, dtype: torch.dtype) -> SolverState:
        """`steps` holds three weights an evaluation, see `data_weights`."""
        rows = [data_weights(schedule.sigmas, index) for index in range(len(schedule.timesteps))]
        return SolverState(schedule, steps=tuple(weight for row in rows for weight in row))

    def tell(self, sample: Sample, output: Tensor) -> None:
        index, history = sample.evaluation, sample.solver.history
        data = predict_data(sample, output)
        tensors = (data, sample.latents, history.get("data", data))
        sample.latents = combine(tensors, sample.solver.steps[3 * index : 3 * index + 3]).to(output.dtype)
        history["data"] = data
        sample.evaluation += 1


def data_weights(sigmas: Sequence[float], index: int) -> tuple[float, float, float]:
    """Weights of (data predicted now, latents, data predicted before) in the step from `index` to the next.

    Args:
        sigmas: N + 1, falling, the last one 0.
        index: 0 to N - 1.

    Source: Lu et al. 2022, Algorithm 2, `lean` being its 1 / 2r; with alpha = 1 - sigma its
        alpha_next (1 - exp(-h)) is 1 - sigma_next / sigma, finite at both ends.
    """
    kept = sigmas[index + 1] / sigmas[index]
    lean = 0.0
    if 0 < index < len(sigmas) - 2:
        before, now, after = (log_ratio(sigma) for sigma in sigmas[index - 1 : index + 2])
        lean = (after - now) / (2 * (now - before))
    return (1 - kept) * (1 + lean), kept, -(1 - kept) * lean


def predict_data(sample: Sample, output: Tensor) -> Tensor:
    """x0 = x - sigma v at the sample's point, float32."""
    sigma = sample.solver.schedule.sigmas[sample.evaluation]
    return combine((sample.latents.to(torch.float32), output), (1.0, -sigma))


def log_ratio(sigma: float) -> float:
    """lambda = log(alpha / sigma) with alpha = 1 - sigma, for sigma in (0, 1]; -inf at 1."""
    return math.log((1 - sigma) / sigma) if sigma < 1 else -math.inf
