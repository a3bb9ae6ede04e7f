"""What a job's lanes are conditioned on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL.Image import Image

from workers.core import Condition, Grid
from workers.models.model import Model, StartsFromImage


def encode_lanes(
    model: Model, prompts: Sequence[str], guidance_scale: float | None, image: Image | None, grid: Grid
) -> tuple[Condition, ...]:
    """A condition a prompt, each encoded alone. The image to start from is encoded once, for all of them."""
    conditions = tuple(model.encode(prompt, guidance_scale) for prompt in prompts)
    if image is None:
        return conditions
    assert isinstance(model, StartsFromImage), "resolve() refuses the image"
    shown = model.encode_image(image, grid)
    return tuple(replace(condition, tensors=(*condition.tensors, *shown)) for condition in conditions)
