"""Requests for clips, as callers write them, and what to compare them with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from workers.engine import Result


def clip(model: str = "unipc", *, budget: float | None = None, **given: Any) -> dict[str, Any]:
    """A native body with a fixed seed, 32 x 32 pixels and 5 frames; `given` goes into `input`."""
    body: dict[str, Any] = {
        "model": model,
        "input": {
            "prompt": "a red apple",
            "seed": 7,
            "num_inference_steps": 3,
            "width": 32,
            "height": 32,
            "num_frames": 5,
            **given,
        },
    }
    return body if budget is None else {**body, "compute_budget": budget}


def reference(pipeline: Any, body: dict[str, Any], output_type: str = "latent") -> Any:
    """What WanPipeline makes of the same input; text length as the engine's."""
    given = {key: value for key, value in body["input"].items() if key != "seed"}
    return pipeline(
        **given,
        max_sequence_length=pipeline.tokenizer.model_max_length,
        generator=torch.Generator("cpu").manual_seed(body["input"]["seed"]),
        output_type=output_type,
    ).frames


def same(one: Result, other: Result) -> bool:
    """Equal latents and equal frames, sample by sample."""
    return all(
        torch.equal(a.latents, b.latents) and np.array_equal(a.video, b.video)
        for a, b in zip(one.samples, other.samples, strict=True)
    )
