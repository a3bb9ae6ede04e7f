"""Our noise levels are those diffusers' pipeline would use, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.sampling.runs import levels
from workers.sampling import at_nodes, check_flow_config, flow_schedule

UNIPC = {
    "_class_name": "UniPCMultistepScheduler",
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
}


@pytest.mark.parametrize("name", ["plain", "distilled"])
@pytest.mark.parametrize(("steps", "side"), [(1, 64), (4, 64), (7, 96), (28, 128)])
def test_equals_the_schedule_of_a_pipeline_run(
    reference_pipeline: Callable[..., Any], name: str, steps: int, side: int
) -> None:
    pipeline = reference_pipeline(name)
    pipeline(
        prompt="a car",
        width=side,
        height=side,
        num_inference_steps=steps,
        max_sequence_length=16,
        output_type="latent",
    )
    tokens = (side // (2 * pipeline.vae_scale_factor)) ** 2
    schedule = flow_schedule(pipeline.scheduler.config, steps, tokens)
    assert torch.tensor(schedule.sigmas).equal(pipeline.scheduler.sigmas)
    assert torch.tensor(schedule.timesteps).equal(pipeline.scheduler.timesteps)


@pytest.mark.parametrize("name", ["unipc", "euler"])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_equals_the_schedule_of_a_video_run(load_wan: Callable[..., Any], name: str, steps: int) -> None:
    """WanPipeline tells its scheduler nothing but the number of steps."""
    model = load_wan(name)
    theirs = type(model.pipeline.scheduler).from_config(model.pipeline.scheduler.config)
    theirs.set_timesteps(steps)
    schedule = flow_schedule(model.scheduler_config, steps, 48)
    assert torch.tensor(schedule.sigmas).equal(theirs.sigmas)
    assert torch.tensor(schedule.timesteps).equal(theirs.timesteps.float())


def test_falls_from_one_to_zero(load_flux: Callable[..., Any]) -> None:
    sigmas = flow_schedule(load_flux("distilled").scheduler_config, 5, 16).sigmas
    assert len(sigmas) == 6
    assert sigmas[0] == 1.0
    assert sigmas[-1] == 0.0
    assert list(sigmas) == sorted(sigmas, reverse=True)


def test_larger_images_stay_noisy_for_longer(load_flux: Callable[..., Any]) -> None:
    config = load_flux("distilled").scheduler_config
    small, large = flow_schedule(config, 4, 256).sigmas, flow_schedule(config, 4, 4096).sigmas
    assert all(more > less for less, more in zip(small[1:-1], large[1:-1], strict=True))


@pytest.mark.parametrize("option", ["stochastic_sampling", "invert_sigmas"])
def test_refuses_options_it_would_not_follow(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        check_flow_config({"_class_name": "FlowMatchEulerDiscreteScheduler", option: True})


@pytest.mark.parametrize(
    ("solver", "name"),
    [
        ("euler", "UniPCMultistepScheduler"),
        ("unipc", "FlowMatchEulerDiscreteScheduler"),
        ("heun", "FlowMatchEulerDiscreteScheduler"),
    ],
)
def test_refuses_a_scheduler_that_is_not_the_solvers(solver: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*under {solver}"):
        check_flow_config({"_class_name": name}, solver)


def test_takes_unipc_as_wan_has_it() -> None:
    check_flow_config(UNIPC, "unipc")


@pytest.mark.parametrize(
    "change",
    [
        {"prediction_type": "epsilon"},
        {"use_flow_sigmas": False},
        {"solver_order": 3},
        {"solver_type": "bh1"},
        {"predict_x0": False},
        {"lower_order_final": False},
        {"final_sigmas_type": "sigma_min"},
        {"disable_corrector": [0]},
        {"thresholding": True},
        {"use_karras_sigmas": True},
        {"use_dynamic_shifting": True},
    ],
)
def test_refuses_another_unipc(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        check_flow_config({**UNIPC, **change}, "unipc")


def test_refuses_a_unipc_whose_defaults_are_no_flow() -> None:
    with pytest.raises(ValueError, match="prediction_type flow_prediction only"):
        check_flow_config({"_class_name": "UniPCMultistepScheduler"}, "unipc")


def test_nodes_by_hand() -> None:
    """Places 0, 1 and 3 of .9, .6, .4, .1, and then the 0 both end with."""
    shorter = at_nodes(levels(0.9, 0.6, 0.4, 0.1, 0.0), (0, 1, 3))
    assert shorter.sigmas == (0.9, 0.6, 0.1, 0.0)
    assert shorter.timesteps == (900.0, 600.0, 100.0)


def test_all_nodes_are_the_schedule() -> None:
    whole = levels(0.9, 0.6, 0.4, 0.0)
    assert at_nodes(whole, (0, 1, 2)) == whole


@pytest.mark.parametrize("nodes", [(), (1, 2), (0, 2, 2), (0, 2, 1), (0, 3), (0, -1)])
def test_refuses_nodes_that_do_not_rise_from_the_start(nodes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not rise from 0 within 3"):
        at_nodes(levels(0.9, 0.6, 0.4, 0.0), nodes)
