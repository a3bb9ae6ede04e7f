"""Requests for clips, as callers write them, and what to compare them with."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from diffusers import WanPipeline
from PIL import Image

from protocol.start_images import to_png
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


def picture(seed: int = 0, width: int = 56, height: int = 40) -> Image.Image:
    """An image to start from, all noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def spelled(image: Image.Image) -> str:
    """The image as base64."""
    return base64.b64encode(to_png(image)).decode()


def image_clip(
    model: str = "image", *, image: Image.Image | None = None, budget: float | None = None, **given: Any
) -> dict[str, Any]:
    """The same for a model that starts from an image."""
    return clip(model, budget=budget, image=spelled(image or picture()), **given)


@torch.no_grad()
def image_reference(
    pipeline: Any, body: dict[str, Any], image: Image.Image | None = None, output_type: str = "latent"
) -> Any:
    """What WanImageToVideoPipeline makes of the same input.

    Prompts are encoded by WanPipeline, whose code is the same: this pipeline's needs ftfy.
    """

    def embeds(prompt: str) -> Any:
        return WanPipeline._get_t5_prompt_embeds(pipeline, prompt, max_sequence_length=512)

    given = {**body["input"]}
    seed = given.pop("seed")
    return pipeline(
        **{**given, "image": image or picture(), "prompt": None, "negative_prompt": None},
        prompt_embeds=embeds(given["prompt"]),
        negative_prompt_embeds=embeds(given.get("negative_prompt") or ""),
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type=output_type,
    ).frames


def same(one: Result, other: Result) -> bool:
    """Equal latents and equal frames, sample by sample."""
    return all(
        torch.equal(a.latents, b.latents) and np.array_equal(a.video, b.video)
        for a, b in zip(one.samples, other.samples, strict=True)
    )
