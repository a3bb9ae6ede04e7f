"""The reference checkpoint itself, through the same loader as any other, equals diffusers' run of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.requests import png, request
from workers.engine import Engine, self_test
from workers.models import load

FOLDER = Path(__file__).resolve().parents[2] / "checkpoints" / "flux-tiny"
CASES = ({"seed": 3, "num_inference_steps": 4}, {"seed": 2**40, "num_inference_steps": 2, "width": 96})


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Our model and diffusers' pipeline, loaded apart."""
    from diffusers import FluxPipeline

    pipeline = FluxPipeline.from_pretrained(FOLDER, dtype=getattr(torch, request.param))
    pipeline.set_progress_bar_config(disable=True)
    return load(FOLDER, dtype=request.param), pipeline


def reference(pipeline: Any, given: dict[str, Any], output_type: str) -> Any:
    size = {name: given[name] for name in ("prompt", "width", "height", "num_inference_steps")}
    return pipeline(
        **size,
        max_sequence_length=pipeline.tokenizer_2.model_max_length,
        generator=torch.Generator("cpu").manual_seed(given["seed"]),
        output_type=output_type,
    ).images


def test_alone_and_in_company_it_is_the_pipelines(pair: tuple[Any, Any]) -> None:
    model, pipeline = pair
    self_test(model)
    bodies = [request("flux-tiny", **case) for case in CASES]
    together = Engine(model).run([*bodies, *(request("flux-tiny", seed=seed) for seed in range(4))])
    for body, result in zip(bodies, together, strict=False):
        assert torch.equal(result.samples[0].latents, reference(pipeline, body["input"], "latent"))
        assert png(result.samples[0].image) == png(reference(pipeline, body["input"], "pil")[0])
