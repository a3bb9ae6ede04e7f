"""At budget 1 the engine is the original: latents and frames are those of WanPipeline, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from protocol.errors import InvalidRequest
from tests.engine.clips import clip, reference
from workers.engine import Engine

NAMES = ("unipc", "euler")
CASES = (
    {"num_inference_steps": 1, "seed": 0},
    {"num_inference_steps": 2, "seed": 1, "num_frames": 1},
    {"num_inference_steps": 5, "seed": 2**53 - 1, "width": 48},
    {"num_inference_steps": 3, "seed": 12_345, "height": 80, "num_frames": 3},
    {"num_inference_steps": 8, "seed": 3, "num_frames": 9, "guidance_scale": 2.3},
    {"num_inference_steps": 4, "seed": 4, "guidance_scale": 1.0},
    {"num_inference_steps": 4, "seed": 5, "guidance_scale": 0.0, "negative_prompt": "the sun"},
    {"num_inference_steps": 4, "seed": 6, "negative_prompt": "two blue dogs", "guidance_scale": 7.5},
)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_latents_are_the_pipelines(
    load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any], name: str, case: dict[str, Any]
) -> None:
    body = clip(name, **case)
    (result,) = Engine(load_wan(name)).run([body])
    theirs = reference(wan_pipeline(name), body)
    assert torch.equal(result.samples[0].latents, theirs)
    lanes = 1 if case.get("guidance_scale", 5.0) <= 1.0 else 2
    assert result.receipt.nfe == lanes * case["num_inference_steps"]


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_latents_are_the_pipelines_as_well(
    load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any], name: str
) -> None:
    """UniPC keeps them in float32 beside the network, Euler rounds them."""
    body = clip(name, num_frames=3)
    (result,) = Engine(load_wan(name, "bfloat16")).run([body])
    theirs = reference(wan_pipeline(name, "bfloat16"), body)
    assert torch.equal(result.samples[0].latents, theirs)
    assert result.samples[0].latents.dtype is theirs.dtype


def test_the_prompts_matter_here(load_wan: Callable[..., Any]) -> None:
    """Else the tests above would not see a lane in another's place."""
    bodies = [clip(), clip(prompt="the sun"), clip(negative_prompt="the sun"), clip(guidance_scale=1.0)]
    latents = [result.samples[0].latents for result in Engine(load_wan()).run(bodies)]
    for other in latents[1:]:
        assert not torch.allclose(latents[0], other, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("num_frames", [1, 9])
def test_frames_are_the_pipelines(
    load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any], num_frames: int
) -> None:
    body = clip(num_frames=num_frames, width=48)
    (result,) = Engine(load_wan()).run([body])
    sample = result.samples[0]
    (theirs,) = reference(wan_pipeline(), body, "pil")
    assert sample.image is None
    assert sample.video is not None
    assert (sample.video.shape, sample.video.dtype) == ((num_frames, 32, 48, 3), np.uint8)
    assert np.array_equal(sample.video, np.stack([np.asarray(image) for image in theirs]))


def test_n_samples_are_n_seeds_counted_up(load_wan: Callable[..., Any]) -> None:
    engine = Engine(load_wan())
    (together,) = engine.run([clip(n=3, seed=40)])
    singles = engine.run([clip(seed=seed) for seed in (40, 41, 42)])
    for sample, single in zip(together.samples, singles, strict=True):
        assert torch.equal(sample.latents, single.samples[0].latents)


@pytest.mark.parametrize("name", NAMES)
def test_half_a_budget_is_the_pipelines_run_of_half_the_steps(
    load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any], name: str
) -> None:
    (result,) = Engine(load_wan(name)).run([clip(name, budget=0.5, num_inference_steps=6)])
    theirs = reference(wan_pipeline(name), clip(name, num_inference_steps=3))
    assert torch.equal(result.samples[0].latents, theirs)
    assert (result.receipt.granted, result.receipt.spent, result.receipt.nfe) == (0.5, 0.5, 6)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"num_frames": 4}, "input.num_frames"),
        ({"num_frames": 19}, "input.num_frames"),
        ({"width": 40}, "input.width"),
        ({"height": 16}, "input.height"),
        ({"image": "data:"}, "input.image"),
    ],
)
def test_what_it_cannot_make_is_refused_by_name(
    load_wan: Callable[..., Any], given: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Engine(load_wan()).add(clip(**given))
    assert caught.value.param == param
