"""UniPC by hand and against diffusers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler

from tests.sampling.runs import even, follow, largest_gap, levels, make_sample, mixing, walk
from workers.core import Schedule
from workers.sampling import make_solver


def theirs(schedule: Schedule) -> UniPCMultistepScheduler:
    scheduler = UniPCMultistepScheduler(
        solver_order=2, solver_type="bh2", prediction_type="flow_prediction", use_flow_sigmas=True
    )
    scheduler.set_timesteps(sigmas=np.array(schedule.sigmas[:-1]))
    return scheduler


def test_three_steps_by_hand() -> None:
    """alpha / sigma is 1/4, 1, 4: lambda moves by h = log 4 = 1.386294 each time; B is exp(-h) - 1 = -3/4.

    1. Data 4 - .8 (-4) = 7.2; predicted .625 x 4 + .375 x 7.2 = 5.2.
    2. Data 5.2 - .5 = 4.7; corrected .625 x 4 + .375 (7.2 + 4.7) / 2 = 4.73125; predicted
       .4 x 4.73125 + .6 (1.5 x 4.7 - .5 x 7.2) = 3.9625.
    3. Data 3.9625 - .2 x 3 = 3.3625. b = .611986, .450424 and r = -1 give .080781 and .531205; corrected
       .4 x 4.73125 + .6 (4.7 - .080781 (7.2 - 4.7) + .531205 (3.3625 - 4.7)) = 4.165036. At sigma 0 the
       latents are the data.
    """
    solver = make_solver("unipc")
    sample = make_sample("unipc", torch.tensor([[[4.0]]]), levels(0.8, 0.5, 0.2, 0.0))
    path = []
    for output in (-4.0, 1.0, 3.0):
        solver.tell(sample, torch.tensor([[[output]]]))
        path.append((sample.solver.history["corrected"].item(), sample.latents.item()))
    assert path[0] == pytest.approx((4.0, 5.2))
    assert path[1] == pytest.approx((4.73125, 3.9625))
    assert path[2] == pytest.approx((4.165036, 3.3625))
    assert solver.ask(sample) is None


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 28])
def test_equals_diffusers(steps: int, shift: float) -> None:
    """To the last bit, at every evaluation, on the levels it holds: its first one is 1 - 1e-6."""
    noise, velocity = mixing()
    scheduler = theirs(even(steps, shift))
    ours = walk("unipc", velocity, noise, levels(*scheduler.sigmas.tolist()))
    assert largest_gap(ours, follow(scheduler, velocity, noise)) == 0


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_latents_wider_than_outputs_stay_so_and_equal_diffusers(steps: int) -> None:
    """A bfloat16 network under float32 latents, as WanPipeline runs it."""
    noise, exact = mixing()
    scheduler = theirs(even(steps, 3.0))

    def velocity(latents: torch.Tensor, sigma: float) -> torch.Tensor:
        return exact(latents, sigma).to(torch.bfloat16)

    ours = walk("unipc", velocity, noise, levels(*scheduler.sigmas.tolist()))
    assert all(latents.dtype is torch.float32 for latents in ours)
    assert largest_gap(ours, follow(scheduler, velocity, noise)) == 0
