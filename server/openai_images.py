"""The images API as OpenAI's clients speak it, translated to and from the native request."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

from pydantic import JsonValue, field_validator

from protocol.catalog import CatalogEntry
from protocol.events import Completed
from protocol.jobs import GenerationRequest
from protocol.receipts import Totals
from protocol.sedd_shape import SeddShapes
from protocol.text import CleanText
from server.answers import ArtifactAnswer
from server.openai_requests import OpenAIRequest

Quality = Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"]

BUDGETS: dict[str, float] = {
    "low": 0.25,
    "medium": 0.5,
    "high": 1.0,
    "xhigh": 1.0,
    "max": 1.0,
    "auto": 1.0,
    "standard": 0.5,
    "hd": 1.0,
}
RESOLVED = {"auto": "high", "standard": "medium", "hd": "high"}
"""What a quality is called in the answer, where that is not its own name."""


class ImageRequest(OpenAIRequest):
    """The body of `POST /v1/images/generations`.

    `user`, `safety_identifier`, `moderation` and an opaque `background` are taken without effect; what we do
    not offer is refused by name.
    """

    n: int | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png"] | None = None
    quality: Quality | None = None
    stream: bool | None = None
    partial_images: int | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = None
    user: CleanText | None = None
    safety_identifier: CleanText | None = None

    @field_validator("stream")
    @classmethod
    def _no_streams_yet(cls, stream: bool | None) -> bool | None:
        if stream:
            raise ValueError("streams of partial images are not served yet; follow events_url instead")
        return stream

    @field_validator("partial_images")
    @classmethod
    def _no_partials_yet(cls, count: int | None) -> int | None:
        if count:
            raise ValueError("must be 0: partial images are not served yet")
        return count

    @property
    def resolved_quality(self) -> str | None:
        """The quality that held; None where `compute_budget` did instead."""
        if self.compute_budget is not None:
            return None
        quality = self.quality or "auto"
        return RESOLVED.get(quality, quality)


def to_native(image: ImageRequest, model: str) -> GenerationRequest:
    """The same request in the native shape.

    Raises:
        InvalidRequest: `param` is the field of the image request.
    """
    given = {"n": image.n} if image.n is not None else {}
    budget = BUDGETS[image.quality or "auto"] if image.compute_budget is None else image.compute_budget
    return image.native(model, given, budget)


def image_answer(
    image: ImageRequest,
    entry: CatalogEntry,
    request: GenerationRequest,
    end: Completed,
    *,
    job_id: str,
    created: int,
    data: Sequence[JsonValue],
) -> dict[str, JsonValue]:
    """The answer to a finished request; `request` is the resolved one."""
    return {
        "created": created,
        "id": job_id,
        "data": list(data),
        "background": "opaque",
        "output_format": "png",
        "quality": image.resolved_quality,
        "size": f"{request.input.width}x{request.input.height}",
        "usage": usage(entry, request),
        "compute": _plain(end.compute),
    }


def inline(data: bytes, seed: int) -> JsonValue:
    return {"b64_json": base64.b64encode(data).decode(), "seed": seed}


def linked(shown: ArtifactAnswer) -> JsonValue:
    return {"url": shown.url, "seed": shown.seed}


def usage(entry: CatalogEntry, request: GenerationRequest) -> dict[str, JsonValue]:
    """Tokens as the denoiser sees them: the prompt as the model pads it, and the latent patches made."""
    given = request.input
    assert given.width is not None, "resolve() fills the size"
    assert given.height is not None, "resolve() fills the size"
    assert not isinstance(entry.shapes, SeddShapes), "choose_model() takes models of pictures alone"
    text = entry.shapes.text_tokens
    image = entry.shapes.image_tokens(given.width, given.height, given.num_frames) * given.n
    return {
        "input_tokens": text,
        "output_tokens": image,
        "total_tokens": text + image,
        "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
        "output_tokens_details": {"text_tokens": 0, "image_tokens": image},
    }


def _plain(totals: Totals) -> JsonValue:
    return dict(totals.model_dump(mode="json"))
