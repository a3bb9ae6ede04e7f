"""Where a run stands: noise levels from the first to the last, and how far each step goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from workers.sampling.discrete.noise import Noise

TIME_END = 1e-5
"""SEDD's last time before the final denoising."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Noise levels of a run and the widths its steps are made with.

    Args:
        sigmas: N + 1 floats, falling, above 0.
        widths: N floats; equal to the levels' differences, or what SEDD's code takes for them.
    """

    sigmas: tuple[float, ...]
    widths: tuple[float, ...]


def geometric_grid(num_steps: int, sigma_max: float, sigma_min: float) -> Grid:
    """Levels in equal ratios."""
    return _between(num_steps, sigma_max, sigma_min, math.log, math.exp)


def odds_grid(num_steps: int, sigma_max: float, sigma_min: float) -> Grid:
    """Equal ratios of (1 - alpha) / alpha: even steps of sigma at first, the geometric grid at last."""
    return _between(
        num_steps,
        sigma_max,
        sigma_min,
        forth=lambda sigma: math.log(math.expm1(sigma)),
        back=lambda place: math.log1p(math.exp(place)),
    )


def log_linear_grid(num_steps: int, sigma_max: float, sigma_min: float) -> Grid:
    """Equal steps of alpha, the share of tokens kept."""
    return _between(
        num_steps,
        sigma_max,
        sigma_min,
        forth=lambda sigma: math.exp(-sigma),
        back=lambda kept: -math.log(kept),
    )


def time_grid(noise: Noise, num_steps: int, *, local_rates: bool = False) -> Grid:
    """Even steps of time from 1 to 1e-5 under a schedule.

    Args:
        local_rates: widths are the rate at a step's start times the time it takes, as SEDD's code has it;
            else exact differences of sigma, which are safer where steps are long.
    """
    times = [1 + (TIME_END - 1) * place / num_steps for place in range(num_steps + 1)]
    sigmas = tuple(noise.sigma(time) for time in times)
    if not local_rates:
        return Grid(sigmas, _differences(sigmas))
    return Grid(sigmas, tuple(noise.rate(now) * (now - after) for now, after in pairwise(times)))


def _between(
    num_steps: int,
    sigma_max: float,
    sigma_min: float,
    forth: Callable[[float], float],
    back: Callable[[float], float],
) -> Grid:
    """Even steps on the scale `forth` maps sigma to; both ends are met exactly."""
    first, last = forth(sigma_max), forth(sigma_min)
    middle = (back(first + (last - first) * place / num_steps) for place in range(1, num_steps))
    sigmas = (sigma_max, *middle, sigma_min) if num_steps else (sigma_max,)
    return Grid(sigmas, _differences(sigmas))


def _differences(sigmas: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(now - after for now, after in pairwise(sigmas))
