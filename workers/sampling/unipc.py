"""UniPC of order 2 on a flow: a predictor, and a corrector that reuses the next evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.core import Sample, Schedule, SolverState
from workers.sampling.euler import Euler

_HIGHEST = 1 - 17 / 2**24
"""diffusers' 1 - 1e-6, as float32 holds it: a first sigma of 1 is read as this, so that lambda is finite."""
_WIDTH = 8


class UniPc(Euler):
    """UniP-2 and UniC-2 with B(h) = exp(h) - 1 ("bh2"), on predictions of the data. NFE N.

    Each evaluation first corrects the latents it was made at, then predicts the next ones from there; the
    last ones are never corrected. Asks where Euler asks. Latents keep their dtype; the memory is float32.

    Source: Zhao et al. 2023 (UniPC), Algorithms 1 and 2, in data prediction; choices, order of operations
        and rounding as in diffusers' UniPCMultistepScheduler.
    """

    def start(self, schedule: Schedule, dtype: torch.dtype) -> SolverState:
        """`steps` holds eight weights an evaluation: `correction_weights`, then `prediction_weights`."""
        sigmas = torch.tensor([min(sigma, _HIGHEST) for sigma in schedule.sigmas])
        weights: list[float] = []
        for index in range(len(schedule.timesteps)):
            weights += [*correction_weights(sigmas, index), *prediction_weights(sigmas, index)]
        return SolverState(schedule, steps=tuple(weights))

    def tell(self, sample: Sample, output: Tensor) -> None:
        index, history, latents = sample.evaluation, sample.solver.history, sample.latents
        weights = sample.solver.steps[_WIDTH * index : _WIDTH * (index + 1)]
        data = _predict_data(sample, output)
        corrected = latents.to(torch.float32)
        if index:
            corrected = _correct(history, data, weights[:5])
        sample.latents = _predict(corrected, data, history.get("data"), weights[5:]).to(latents.dtype)
        if "data" in history:
            history["older_data"] = history["data"]
        history.update(corrected=corrected, data=data)
        sample.evaluation += 1


def correction_weights(sigmas: Tensor, index: int) -> tuple[float, ...]:
    """(kept, moved, spacing, share of the older data, share of the data predicted now) for the corrected
    latents at `index`, see `_correct`.

    Nothing is corrected at 0; the first correction is of order 1, all others of order 2.

    Args:
        sigmas: (N + 1,), float32 in [0, 1), falling, the last one 0.
        index: 0 to N - 1.

    Source: Zhao et al. 2023, UniC-1 and UniC-2 in data prediction.
    """
    if index == 0:
        return 1.0, 0.0, 1.0, 0.0, 0.0
    length, kept, moved = _step(sigmas, index - 1, index)
    if index == 1:
        return kept.item(), moved.item(), 1.0, 0.0, 0.5
    spacing = _spacing(sigmas, index - 1, length)
    first = torch.expm1(-length) / -length - 1
    second = first / -length - 1 / 2
    powers = torch.stack([torch.ones(2), torch.stack([spacing, torch.ones(())])])
    moments = torch.stack([first / torch.expm1(-length), second * 2 / torch.expm1(-length)])
    older, now = torch.linalg.solve(powers, moments).tolist()
    return kept.item(), moved.item(), spacing.item(), older, now


def prediction_weights(sigmas: Tensor, index: int) -> tuple[float, float, float]:
    """(kept, moved, spacing) of the step from `index` to the next, see `_predict`; a spacing of 0 means order
    1, as the first and the last step are.

    Args:
        sigmas: (N + 1,), float32 in [0, 1), falling, the last one 0.
        index: 0 to N - 1.

    Source: Zhao et al. 2023, UniP-1 and UniP-2 in data prediction.
    """
    length, kept, moved = _step(sigmas, index, index + 1)
    if index in (0, len(sigmas) - 2):
        return kept.item(), moved.item(), 0.0
    return kept.item(), moved.item(), _spacing(sigmas, index, length).item()


def _step(sigmas: Tensor, left: int, right: int) -> tuple[Tensor, Tensor, Tensor]:
    """h = lambda' - lambda, sigma' / sigma and alpha' (exp(-h) - 1) of a step, as scalar tensors.

    One number at a time: vectorised logarithms may round otherwise.
    """
    length = _log_ratio(sigmas[right]) - _log_ratio(sigmas[left])
    return length, sigmas[right] / sigmas[left], (1 - sigmas[right]) * torch.expm1(-length)


def _spacing(sigmas: Tensor, left: int, length: Tensor) -> Tensor:
    """r: how far behind `left` the place before it lies, in steps of `length`; negative."""
    return (_log_ratio(sigmas[left - 1]) - _log_ratio(sigmas[left])) / length


def _log_ratio(sigma: Tensor) -> Tensor:
    """lambda = log alpha - log sigma with alpha = 1 - sigma."""
    return torch.log(1 - sigma) - torch.log(sigma)


def _predict_data(sample: Sample, output: Tensor) -> Tensor:
    """x0 = x - sigma v at the sample's point, float32.

    Where latents are wider than outputs the product is rounded to the outputs' dtype, as diffusers does.
    """
    sigma = torch.tensor(sample.solver.schedule.sigmas[sample.evaluation])
    flow = output if sample.latents.dtype is torch.float32 else output.to(torch.float32)
    return sample.latents.to(torch.float32) - sigma * flow


def _correct(history: dict[str, Tensor], data: Tensor, weights: Sequence[float]) -> Tensor:
    """The latents at this evaluation once more, from where the last step left and with the data seen here."""
    kept, moved, spacing, older, now = weights
    before, bend = history["data"], now * (data - history["data"])
    if "older_data" in history:
        bend = older * ((history["older_data"] - before) / spacing) + bend
    return kept * history["corrected"] - moved * before - moved * bend


def _predict(latents: Tensor, data: Tensor, before: Tensor | None, weights: Sequence[float]) -> Tensor:
    """The latents one step on."""
    kept, moved, spacing = weights
    ahead = kept * latents - moved * data
    if before is None or not spacing:
        return ahead
    return ahead - moved * (0.5 * ((before - data) / spacing))
