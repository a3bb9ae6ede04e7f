"""At budget 1 the engine is the original: latents and pixels are those of FluxPipeline, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.engine.requests import png, request
from workers.engine import Engine

DTYPES = ("float32", "bfloat16")
CASES = (
    {"width": 64, "height": 64, "num_inference_steps": 1, "seed": 0},
    {"width": 64, "height": 64, "num_inference_steps": 4, "seed": 1},
    {"width": 96, "height": 64, "num_inference_steps": 3, "seed": 2**53 - 1},
    {"width": 64, "height": 128, "num_inference_steps": 6, "seed": 12_345},
)


def reference(pipeline: Any, given: dict[str, Any], **more: Any) -> torch.Tensor:
    """The pipeline's own latents for the same input; text length as the engine's."""
    seed = given["seed"]
    latents: torch.Tensor = pipeline(
        prompt=given["prompt"],
        width=given["width"],
        height=given["height"],
        num_inference_steps=given["num_inference_steps"],
        max_sequence_length=pipeline.tokenizer_2.model_max_length,
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="latent",
        **more,
    ).images
    return latents


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["plain", "distilled"])
def test_latents_are_the_pipelines(
    load_flux: Callable[..., Any],
    reference_pipeline: Callable[..., Any],
    name: str,
    dtype: str,
    case: dict[str, int],
) -> None:
    body = request(name, **case)
    (result,) = Engine(load_flux(name, dtype)).run([body])
    latents = result.samples[0].latents
    assert torch.equal(latents, reference(reference_pipeline(name, dtype), body["input"], guidance_scale=3.5))
    assert latents.dtype is getattr(torch, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_embedded_guidance_is_the_pipelines(
    load_flux: Callable[..., Any], reference_pipeline: Callable[..., Any], dtype: str
) -> None:
    pipeline, model = reference_pipeline("distilled", dtype), load_flux("distilled", dtype)
    bodies = [request("distilled", guidance_scale=scale) for scale in (1.0, 2.3, 7.1)]
    results = Engine(model).run(bodies)
    latents = [result.samples[0].latents for result in results]
    for body, mine in zip(bodies, latents, strict=True):
        theirs = reference(pipeline, body["input"], guidance_scale=body["input"]["guidance_scale"])
        assert torch.equal(mine, theirs)
    assert not torch.equal(latents[0], latents[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.5, 4.7])
def test_true_guidance_is_the_pipelines(
    load_flux: Callable[..., Any], reference_pipeline: Callable[..., Any], dtype: str, scale: float
) -> None:
    """Two lanes of one forward against the pipeline's two forwards."""
    body = request("plain", negative_prompt="the sun", guidance_scale=scale)
    (result,) = Engine(load_flux("plain", dtype)).run([body])
    theirs = reference(
        reference_pipeline("plain", dtype), body["input"], negative_prompt="the sun", true_cfg_scale=scale
    )
    assert torch.equal(result.samples[0].latents, theirs)
    assert result.receipt.nfe == 6


def test_guidance_of_one_needs_one_lane(
    load_flux: Callable[..., Any], reference_pipeline: Callable[..., Any]
) -> None:
    body = request("plain", negative_prompt="the sun", guidance_scale=1.0)
    (result,) = Engine(load_flux("plain")).run([body])
    assert torch.equal(result.samples[0].latents, reference(reference_pipeline("plain"), body["input"]))
    assert result.receipt.nfe == 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_pictures_are_the_pipelines(
    load_flux: Callable[..., Any], reference_pipeline: Callable[..., Any], dtype: str
) -> None:
    (result,) = Engine(load_flux("plain", dtype)).run([request()])
    theirs = reference_pipeline("plain", dtype)(
        prompt="a red apple",
        width=64,
        height=64,
        num_inference_steps=3,
        max_sequence_length=16,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    assert png(result.samples[0].image) == png(theirs)


def test_n_samples_are_n_seeds_counted_up(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"))
    (together,) = engine.run([request(n=3, seed=40)])
    singles = engine.run([request(seed=seed) for seed in (40, 41, 42)])
    assert [sample.seed for sample in together.samples] == [40, 41, 42]
    for sample, single in zip(together.samples, singles, strict=True):
        assert torch.equal(sample.latents, single.samples[0].latents)


def test_half_a_budget_is_the_pipelines_run_of_half_the_steps(
    load_flux: Callable[..., Any], reference_pipeline: Callable[..., Any]
) -> None:
    (result,) = Engine(load_flux("distilled")).run([request("distilled", budget=0.5, num_inference_steps=6)])
    given = request("distilled", num_inference_steps=3)["input"]
    theirs = reference(reference_pipeline("distilled"), given, guidance_scale=3.5)
    assert torch.equal(result.samples[0].latents, theirs)
    assert (result.receipt.granted, result.receipt.spent, result.receipt.nfe) == (0.5, 0.5, 3)
