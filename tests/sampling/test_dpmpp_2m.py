"""DPM-Solver++(2M) by hand and against diffusers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from tests.sampling.runs import even, follow, largest_gap, levels, mixing, tell_each, walk
from workers.core import Schedule


def theirs(schedule: Schedule) -> DPMSolverMultistepScheduler:
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
    )
    scheduler.set_timesteps(len(schedule.timesteps))
    scheduler.sigmas = torch.tensor(schedule.sigmas)
    return scheduler


def test_three_steps_by_hand() -> None:
    """alpha / sigma is 1/4, 1, 4: lambda moves by log 4 each time, so 1 / 2r is a half.

    Euler: 4 - .3 (-4) = 5.2; data 4 - .8 (-4) = 7.2. Then data 5.2 - .5 = 4.7, leaning to
    1.5 x 4.7 - .5 x 7.2 = 3.45: .4 x 5.2 + .6 x 3.45 = 4.15. Euler at the end: 4.15 - .2 x 3 = 3.55.
    """
    path = tell_each("dpmpp-2m", 4.0, levels(0.8, 0.5, 0.2, 0.0), [-4.0, 1.0, 3.0])
    assert path == pytest.approx([5.2, 4.15, 3.55])


def test_the_step_after_pure_noise_is_eulers() -> None:
    """lambda is -inf at 1, so nothing leans on it: 8 + 2 = 10, 10 - .25 x 2 = 9.5. The third step leans."""
    path = tell_each("dpmpp-2m", 8.0, levels(1.0, 0.5, 0.25, 0.125, 0.0), [-4.0, 2.0, 8.0, 0.0])
    assert path[:2] == [10.0, 9.5]
    assert path[2] != pytest.approx(9.5 - 0.125 * 8)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 28])
def test_equals_diffusers(steps: int, shift: float) -> None:
    noise, velocity = mixing()
    schedule = even(steps, shift)
    ours = walk("dpmpp-2m", velocity, noise, schedule)
    assert largest_gap(ours, follow(theirs(schedule), velocity, noise)) <= 1e-5
