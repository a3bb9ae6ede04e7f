"""A request made concrete against the model's catalog entry: defaults filled in, the rest checked.

What comes out prices, plans and runs without looking anything up again.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue

from protocol.catalog import CatalogEntry, FrameLimits, SizeLimits
from protocol.errors import InvalidRequest
from protocol.given import read_given
from protocol.jobs import MAX_SEED, GenerationInput, GenerationRequest

_ALWAYS_ALLOWED = frozenset({"n", "seed", "num_inference_steps"})


def resolve(request: GenerationRequest, entry: CatalogEntry) -> GenerationRequest:
    """Fill defaults, draw a seed where none was given, and refuse what the model cannot do.

    Raises:
        InvalidRequest: with the field's path in `param` and what is allowed in `details`.
    """
    given = request.input
    _refuse_foreign_fields(given, entry)
    _check_lora(given.lora, entry)
    _require_fields(given, entry)
    _refuse_unknown_methods(request, entry)
    steps = given.num_inference_steps or entry.defaults.num_inference_steps
    _check_range("input.num_inference_steps", steps, 1, entry.max_steps)
    _check_range("input.n", given.n, 1, entry.max_samples)
    fill = _filled_picture if entry.takes_prompt else _filled_sequence
    filled = given.model_copy(
        update={
            **fill(given, entry),
            "num_inference_steps": steps,
            "seed": given.seed if given.seed is not None else draw_seed(given.n),
        }
    )
    return request.model_copy(update={"input": filled, "model": entry.name})


def _filled_picture(given: GenerationInput, entry: CatalogEntry) -> dict[str, Any]:
    width = given.width if given.width is not None else entry.defaults.width
    height = given.height if given.height is not None else entry.defaults.height
    assert width is not None, "models of pictures have a size"
    assert height is not None, "models of pictures have a size"
    _check_size(width, height, entry.sizes)
    num_frames = given.num_frames or entry.defaults.num_frames
    _check_frames(num_frames, entry.frames)
    _check_guidance(given, entry)
    return {
        "width": width,
        "height": height,
        "guidance_scale": _guidance(given, entry),
        "num_frames": num_frames,
    }


def _filled_sequence(given: GenerationInput, entry: CatalogEntry) -> dict[str, Any]:
    assert entry.lengths is not None, "models of sequences have lengths"
    assert entry.vocabulary is not None, "models of sequences have a vocabulary"
    length = given.length or entry.defaults.length or entry.lengths.max_length
    _check_range("input.length", length, entry.lengths.min_length, entry.lengths.max_length)
    return {"length": length, "given": read_given(given.given, entry.vocabulary, length)}


def draw_seed(samples: int) -> int:
    """A random seed that leaves room for `samples` seeds counted up."""
    return secrets.randbelow(MAX_SEED - samples + 2)


def lanes(request: GenerationRequest, entry: CatalogEntry) -> int:
    """How many rows a sample needs at each evaluation: 2 under true classifier-free guidance, else 1.

    An embedded guidance is a network input; true guidance needs a negative prompt, unless the model is always
    guided.
    """
    scale = request.input.guidance_scale
    guided = not entry.embedded_guidance and _has_negative(request.input, entry)
    return 2 if guided and scale is not None and scale > 1.0 else 1


def _has_negative(given: GenerationInput, entry: CatalogEntry) -> bool:
    return given.negative_prompt is not None or entry.always_guided


def _guidance(given: GenerationInput, entry: CatalogEntry) -> float | None:
    unused = not entry.embedded_guidance and not _has_negative(given, entry)
    if given.guidance_scale is not None or unused:
        return given.guidance_scale
    return entry.defaults.guidance_scale


def _check_guidance(given: GenerationInput, entry: CatalogEntry) -> None:
    if entry.embedded_guidance and given.negative_prompt is not None:
        raise InvalidRequest(
            f"{entry.name} is guidance-distilled and takes no negative_prompt", param="input.negative_prompt"
        )
    unused = not entry.embedded_guidance and not _has_negative(given, entry)
    if given.guidance_scale is not None and unused:
        raise InvalidRequest(
            f"{entry.name} uses guidance_scale only together with negative_prompt",
            param="input.guidance_scale",
        )


def _refuse_foreign_fields(given: GenerationInput, entry: CatalogEntry) -> None:
    allowed = _ALWAYS_ALLOWED | _prompt(entry) | set(entry.input_fields)
    for name in sorted(given.model_fields_set - allowed):
        if getattr(given, name) is not None:
            raise InvalidRequest(
                f"{entry.name} does not take {name}",
                param=f"input.{name}",
                details={"allowed": [*sorted(allowed)]},
            )


def _check_lora(name: str | None, entry: CatalogEntry) -> None:
    if name is not None and name not in entry.loras:
        raise InvalidRequest(
            f"{entry.name} has no such LoRA", param="input.lora", details={"allowed": list(entry.loras)}
        )


def _prompt(entry: CatalogEntry) -> set[str]:
    return {"prompt"} if entry.takes_prompt else set()


def _require_fields(given: GenerationInput, entry: CatalogEntry) -> None:
    for name in (*_prompt(entry), *entry.required_fields):
        if getattr(given, name) is None:
            raise InvalidRequest(f"{entry.name} needs {name}", param=f"input.{name}", code="missing_field")


def _refuse_unknown_methods(request: GenerationRequest, entry: CatalogEntry) -> None:
    methods = entry.offered(request.input.lora).methods
    for name in request.compute_budget.methods or ():
        if name not in methods:
            raise InvalidRequest(
                f"{entry.name} does not offer this method",
                param="compute_budget.methods",
                details={"allowed": list(methods)},
            )


def _check_size(width: int, height: int, sizes: SizeLimits | None) -> None:
    assert sizes is not None, "models of pictures have sizes"
    for name, side in (("width", width), ("height", height)):
        _check_range(f"input.{name}", side, sizes.min_side, sizes.max_side)
        if side % sizes.multiple:
            raise InvalidRequest(
                f"{name} must be a multiple of {sizes.multiple}",
                param=f"input.{name}",
                details={"allowed": _nearest(side, sizes.multiple)},
            )
    if width * height > sizes.max_pixels:
        raise InvalidRequest(
            f"width x height must be at most {sizes.max_pixels} pixels",
            param="input.width",
            details={"allowed": {"max_pixels": sizes.max_pixels}},
        )


def _check_frames(num_frames: int | None, frames: FrameLimits | None) -> None:
    if frames is None or num_frames is None:
        return
    _check_range("input.num_frames", num_frames, 1, frames.max_frames)
    beyond = (num_frames - 1) % frames.multiple
    if beyond:
        around = (num_frames - beyond, num_frames - beyond + frames.multiple)
        raise InvalidRequest(
            f"num_frames must be 1 more than a multiple of {frames.multiple}",
            param="input.num_frames",
            details={"allowed": [count for count in around if count <= frames.max_frames]},
        )


def _nearest(side: int, multiple: int) -> list[JsonValue]:
    below = side // multiple * multiple
    return [legal for legal in (below, below + multiple) if legal > 0]


def _check_range(param: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidRequest(
            f"{param.rpartition('.')[2]} must be between {least} and {most}",
            param=param,
            details={"allowed": {"min": least, "max": most}},
        )


def seeds(request: GenerationRequest) -> Sequence[int]:
    """The resolved request's seeds, one a sample, counted up."""
    first = request.input.seed
    assert first is not None, "resolve() fills the seed"
    return range(first, first + request.input.n)
