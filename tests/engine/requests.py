"""Requests as callers write them, and pictures as they get them."""

from __future__ import annotations

import io
from typing import Any

from PIL.Image import Image


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


def png(image: Image) -> bytes:
    """The picture's PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
