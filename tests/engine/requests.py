"""Requests as callers write them, engines run to their ends, and pictures as callers get them."""

from __future__ import annotations

import io
from typing import Any

import torch
from PIL.Image import Image

from workers.engine import Engine, EngineEvent


def request(model: str = "plain", *, budget: float | None = None, **given: Any) -> dict[str, Any]:
    """A native body with a fixed seed; `given` goes into `input`."""
    body: dict[str, Any] = {
        "model": model,
        "input": {
            "prompt": "a red apple",
            "seed": 7,
            "num_inference_steps": 3,
            "width": 64,
            "height": 64,
            **given,
        },
    }
    return body if budget is None else {**body, "compute_budget": budget}


def diffusers_latents(pipeline: Any) -> torch.Tensor:
    """What diffusers' own loop makes of `request()`, packed."""
    latents: torch.Tensor = pipeline(
        "a red apple",
        height=64,
        width=64,
        num_inference_steps=3,
        max_sequence_length=16,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    return latents


def png(image: Image) -> bytes:
    """The picture's PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def drain(engine: Engine) -> list[EngineEvent]:
    """Run turns until nothing is left; all their events."""
    events = []
    while not engine.idle:
        events += engine.step()
    return events


def of(events: list[EngineEvent], job: str) -> list[str]:
    """The names of one job's events, in order."""
    return [type(event).__name__ for event in events if event.id == job]
