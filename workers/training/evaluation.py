"""Hold what a reader sees against what the captions say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import FluxPipeline
from PIL import Image

from workers.training.judge import Reader, judge
from workers.training.scenes import Attributes

Check = Callable[[Attributes, Attributes], bool]

# Figure -> (which scenes it is about, when it is right).
CHECKS: dict[str, tuple[Check, Check]] = {
    "background": (lambda want, _: True, lambda want, seen: seen.background == want.background),
    "object": (lambda want, _: want.kind != "pair", lambda want, seen: seen.objects[0] == want.objects[0]),
    "count": (lambda want, _: want.kind != "pair", lambda want, seen: seen.kind == want.kind),
    "position": (lambda want, _: want.kind == "single", lambda want, seen: seen.position == want.position),
    "size": (lambda want, _: want.kind == "single", lambda want, seen: seen.size == want.size),
    "both_objects": (
        lambda want, _: want.kind == "pair",
        lambda want, seen: set(seen.objects) == set(want.objects),
    ),
    "relation": (
        lambda want, _: want.kind == "pair",
        lambda want, seen: (seen.objects, seen.relation) == (want.objects, want.relation),
    ),
    "everything": (lambda want, _: True, lambda want, seen: seen == want),
}


def figures(
    images: Sequence[Image.Image], wanted: Sequence[Attributes], reader: Reader = "main"
) -> dict[str, float]:
    """The share of scenes right, by figure, each over the scenes it is about.

    background: pixels. object: one kind of object, its name. count: one, two or three of it. position, size:
    of single objects. both_objects: pairs, both names in any order. relation: pairs, names in their places.
    """
    pairs = list(zip(wanted, judge(images, reader), strict=True))
    result = {}
    for name, (about, right) in CHECKS.items():
        outcomes = [right(want, seen) for want, seen in pairs if about(want, seen)]
        if outcomes:
            result[name] = sum(outcomes) / len(outcomes)
    return result


def object_score(images: Sequence[Image.Image], wanted: Sequence[Attributes]) -> float:
    """The share of images in which every object named is seen, whatever else is wrong."""
    seen = judge(images)
    return sum(set(a.objects) == set(b.objects) for a, b in zip(wanted, seen, strict=True)) / len(wanted)


def generate(
    pipeline: FluxPipeline,
    captions: Sequence[str],
    *,
    seed: int,
    num_inference_steps: int = 28,
    batch: int = 50,
) -> list[Image.Image]:
    """One image a caption through diffusers' own pipeline, each from its own seed: seed, seed + 1, ...

    One lane, no guidance; the text is as long as the second tokenizer says.
    """
    images: list[Image.Image] = []
    for start in range(0, len(captions), batch):
        prompts = list(captions[start : start + batch])
        generators = [torch.Generator().manual_seed(seed + start + row) for row in range(len(prompts))]
        images += pipeline(
            prompts,
            height=64,
            width=64,
            num_inference_steps=num_inference_steps,
            max_sequence_length=pipeline.tokenizer_2.model_max_length,
            generator=generators,
        ).images
    return images


def contact_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """The images side by side, row by row."""
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for place, image in enumerate(images):
        sheet.paste(image, (place % columns * width, place // columns * height))
    return sheet
