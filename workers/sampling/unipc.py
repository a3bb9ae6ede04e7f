"""UniPC of order 2 on a flow: a predictor, and a corrector that reuses the next evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workers.core import Sample, Schedule, SolverState, combine
from workers.sampling.dpmpp_2m import data_weights, log_ratio, predict_data
from workers.sampling.euler import Euler

_HIGHEST = 1 - 17 / 2**24
"""diffusers' 1 - 1e-6, as float32 holds it: a first sigma of 1 is read as this, so that lambda is finite."""
_WIDTH = 7


class UniPc(Euler):
    """UniP-2 and UniC-2 with B(h) = exp(h) - 1 ("bh2"), on predictions of the data. NFE N.

    Each evaluation first corrects the latents it was made at, then predicts the next ones from there; the
    last ones are never corrected. Its predictor is DPM-Solver++(2M)'s step. Asks where Euler asks.

    Source: Zhao et al. 2023 (UniPC), Algorithms 1 and 2, in data prediction; choices as in diffusers'
        UniPCMultistepScheduler.
    """

    def start(self, schedule: Schedule, dtype: torch.dtype) -> SolverState:
        """`steps` holds seven weights an evaluation: `correction_weights`, then `data_weights`."""
        sigmas = [min(sigma, _HIGHEST) for sigma in schedule.sigmas]
        weights: list[float] = []
        for index in range(len(schedule.timesteps)):
            weights += [*correction_weights(sigmas, index), *data_weights(sigmas, index)]
        return SolverState(schedule, steps=tuple(weights))

    def tell(self, sample: Sample, output: Tensor) -> None:
        index, history = sample.evaluation, sample.solver.history
        weights = sample.solver.steps[_WIDTH * index : _WIDTH * (index + 1)]
        data = predict_data(sample, output)
        before = history.get("data", data)
        left = history.get("corrected", sample.latents)
        corrected = combine((data, left, before, history.get("older_data", before)), weights[:4])
        sample.latents = combine((data, corrected, before), weights[4:]).to(output.dtype)
        history.update(corrected=corrected, data=data, older_data=before)
        sample.evaluation += 1


def correction_weights(sigmas: Sequence[float], index: int) -> tuple[float, float, float, float]:
    """Weights of (data predicted now, latents left from, data predicted there, and one earlier) that give the
    corrected latents at `index`.

    Nothing is corrected at 0; the first correction is of order 1, all others of order 2.

    Args:
        sigmas: N + 1 in [0, 1), falling, the last one 0.
        index: 0 to N - 1.

    Source: Zhao et al. 2023, UniC-1 and UniC-2 in data prediction.
    """
    if index == 0:
        return 0.0, 1.0, 0.0, 0.0
    kept = sigmas[index] / sigmas[index - 1]
    now, older = (0.5, 0.0) if index == 1 else _second_order(sigmas, index)
    return (1 - kept) * now, kept, (1 - kept) * (1 - now - older), (1 - kept) * older


def _second_order(sigmas: Sequence[float], index: int) -> tuple[float, float]:
    """Shares of the data predicted now and of the oldest; solves a + a_now = b_1, r a + a_now = b_2."""
    before, left, here = (log_ratio(sigma) for sigma in sigmas[index - 2 : index + 1])
    length = left - here
    ratio = (left - before) / length
    phi = math.expm1(length) / length - 1
    first = phi / math.expm1(length)
    second = 2 * (phi / length - 0.5) / math.expm1(length)
    older = (second - first) / (ratio - 1)
    return first - older, older / ratio
