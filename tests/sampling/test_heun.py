"""Heun by hand and against diffusers."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchHeunDiscreteScheduler

from tests.sampling.runs import even, follow, largest_gap, levels, make_sample, mixing, tell_each, walk
from workers.core import Schedule
from workers.sampling import make_solver


def theirs(schedule: Schedule) -> FlowMatchHeunDiscreteScheduler:
    scheduler = FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(len(schedule.timesteps))
    first, *others = schedule.sigmas[:-1]
    doubled = torch.tensor([first, *(sigma for sigma in others for _ in range(2)), 0.0])
    scheduler.sigmas, scheduler.timesteps = doubled, 1000 * doubled[:-1]
    return scheduler


def test_two_steps_by_hand() -> None:
    """To .5 and back: 8 + 2 = 10, then with the mean of -4 and 2: 8 + .5 = 8.5. Euler: 8.5 - .5 x 4 = 6.5."""
    assert tell_each("heun", 8.0, levels(1.0, 0.5, 0.0), [-4.0, 2.0, 4.0]) == [10.0, 8.5, 6.5]


def test_asks_twice_at_all_levels_but_the_first() -> None:
    solver, told = make_solver("heun"), torch.zeros(1, 1, 1)
    sample, asked = make_sample("heun", told, levels(1.0, 0.5, 0.25, 0.0)), []
    while (point := solver.ask(sample)) is not None:
        asked.append((point.sigma, point.timestep))
        solver.tell(sample, told)
    assert asked == [(1.0, 1000.0), (0.5, 500.0), (0.5, 500.0), (0.25, 250.0), (0.25, 250.0)]


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 28])
def test_equals_diffusers(steps: int, shift: float) -> None:
    noise, velocity = mixing()
    schedule = even(steps, shift)
    ours = walk("heun", velocity, noise, schedule)
    assert largest_gap(ours, follow(theirs(schedule), velocity, noise)) <= 1e-5
