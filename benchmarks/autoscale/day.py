"""Who asks for what, and when: a day of pictures and videos as seeded draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True)
class Kind:
    """Jobs of one model.

    Attributes:
        full_tflops: what one costs unabridged, from FLUX.1-dev at 1024 x 1024 and 28 steps, and Wan 2.1 14B
            at 480p, 81 frames, 50 steps, guided.
        tflops_per_second: of one GPU.
        deadline_s: from acceptance.
        rate: jobs a second at a time of day, in seconds.
        most: the highest rate.
        budgets: shares of full compute that are asked for, all equally often, by the time of day.
    """

    name: str
    full_tflops: float
    tflops_per_second: float
    deadline_s: float
    rate: Callable[[float], float]
    most: float
    budgets: Callable[[float], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Job:
    kind: str
    arrives_s: float
    due_s: float
    tflops: float
    seconds: float


def _between(at_s: float, start_h: float, end_h: float) -> bool:
    return start_h * HOUR_S <= at_s < end_h * HOUR_S


def _picture_rate(at_s: float) -> float:
    """Next to nothing at night, a working day, three bursts of ten to twenty minutes, few in the evening."""
    rate = (
        0.01 + (0.9 if _between(at_s, 8, 17) else 0.0) * float(np.sin(np.pi * (at_s / HOUR_S - 8) / 9)) ** 2
    )
    for start_h, minutes, height in ((9.0, 20, 3.0), (11.5, 10, 5.0), (15.25, 15, 4.0)):
        if _between(at_s, start_h, start_h + minutes / 60):
            rate += height
    return rate


def _video_rate(at_s: float) -> float:
    """A few by day; the evening is theirs, with a campaign at nine."""
    rate = 1 / 900 + (1 / 40 if _between(at_s, 17.5, 22.5) else 0.0)
    return rate + (1 / 10 if _between(at_s, 21, 21.5) else 0.0)


def _picture_budgets(at_s: float) -> tuple[float, ...]:
    """Drafts in the morning, finals in the afternoon."""
    return (0.25, 0.25, 0.35, 0.5) if at_s < 13 * HOUR_S else (0.5, 1.0, 1.0)


PICTURES = Kind("pictures", 1700.0, 400.0, 60.0, _picture_rate, 6.0, _picture_budgets)
VIDEOS = Kind("videos", 130_000.0, 430.0, 900.0, _video_rate, 0.2, lambda _: (0.25, 0.35, 0.5, 1.0))


def jobs_of(kinds: tuple[Kind, ...], seed: int) -> list[Job]:
    """The day's jobs by arrival: Poisson with the kinds' rates, by thinning; a kind's jobs never depend on
    which others there are.
    """
    jobs: list[Job] = []
    for kind in kinds:
        draws = np.random.default_rng([seed, sum(kind.name.encode())])
        at_s = 0.0
        while (at_s := at_s + draws.exponential(1 / kind.most)) < DAY_S:
            if draws.random() < kind.rate(at_s) / kind.most:
                tflops = kind.full_tflops * float(draws.choice(kind.budgets(at_s)))
                seconds = tflops / kind.tflops_per_second
                jobs.append(Job(kind.name, at_s, at_s + kind.deadline_s, tflops, seconds))
    return sorted(jobs, key=lambda job: job.arrives_s)
