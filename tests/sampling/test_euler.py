"""Euler's step, guidance and the first noise, by hand and against diffusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from tests.sampling.runs import levels, make_sample
from workers.sampling import flow_schedule, guide, initial_noise, make_solver
from workers.sampling.euler import euler_step


def test_two_steps_by_hand() -> None:
    """From 8 along -4 by -.25: 8 + 1 = 9. From 9 along 2 by -.75: 9 - 1.5 = 7.5."""
    solver = make_solver("euler")
    sample = make_sample("euler", torch.tensor([[[8.0]]]), levels(1.0, 0.75, 0.0))
    point = solver.ask(sample)
    assert point is not None
    assert (point.sigma, point.timestep) == (1.0, 1000.0)
    solver.tell(sample, torch.tensor([[[-4.0]]]))
    assert sample.latents.item() == 9.0
    solver.tell(sample, torch.tensor([[[2.0]]]))
    assert sample.latents.item() == 7.5
    assert sample.evaluation == 2
    assert solver.ask(sample) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounds_as_diffusers(dtype: torch.dtype) -> None:
    """diffusers multiplies by a step rounded to the output's dtype; the unrounded gives other bits."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    schedule = flow_schedule(scheduler.config, 3, 16)
    scheduler.set_timesteps(sigmas=[1.0, 2 / 3, 1 / 3])
    generator = torch.Generator().manual_seed(0)
    sample = make_sample("euler", torch.randn(1, 16, 32, generator=generator).to(dtype), schedule)
    latents, solver = sample.latents, make_solver("euler")
    for timestep in scheduler.timesteps:
        output = torch.randn(1, 16, 32, generator=generator).to(dtype)
        latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
        solver.tell(sample, output)
        assert torch.equal(sample.latents, latents)


def test_keeps_the_output_dtype() -> None:
    moved = euler_step(
        torch.ones(1, 1, 1, dtype=torch.bfloat16), torch.ones(1, 1, 1, dtype=torch.bfloat16), -0.5
    )
    assert moved.dtype is torch.bfloat16
    assert moved.item() == 0.5


def test_guidance_by_hand() -> None:
    """uncond 1, cond 3, scale 2.5: 1 + 2.5 x 2 = 6. One lane passes."""
    lanes = torch.tensor([[[3.0]], [[1.0]]])
    assert guide(lanes, 2.5).tolist() == [[[6.0]]]
    assert guide(lanes[:1], 2.5) is not None
    assert guide(lanes[:1], 2.5).tolist() == [[[3.0]]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_noise_is_the_pipelines_first_draw(reference_pipeline: Callable[..., Any], dtype: str) -> None:
    pipeline, torch_dtype = reference_pipeline("plain", dtype), getattr(torch, dtype)
    generator = torch.Generator().manual_seed(2**53 - 1)
    packed, _ = pipeline.prepare_latents(1, 8, 64, 48, torch_dtype, "cpu", generator)
    noise = initial_noise((1, 8, 16, 12), 2**53 - 1, torch_dtype, torch.device("cpu"))
    assert torch.equal(pipeline._pack_latents(noise, *noise.shape), packed)


def test_unknown_solver_lists_the_known() -> None:
    with pytest.raises(LookupError, match="euler"):
        make_solver("heunn")
