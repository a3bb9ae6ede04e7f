"""What requests in OpenAI's shape have in common, and the way from them to the native request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from protocol.errors import InvalidRequest, RheostatError
from protocol.jobs import GenerationRequest, Prompt
from protocol.text import CleanText
from server.body import validate

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})", re.ASCII)
_INPUT_FIELDS = ("prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "seed")
_JOB_FIELDS = ("deadline_s", "on_deadline", "priority", "metadata")


class OpenAIRequest(BaseModel):
    """OpenAI's fields that every such request has, and our own beside them, where `extra_body` puts them.

    `NAMES` says what a native input field is called here, where it is not its own name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    NAMES: ClassVar[Mapping[str, str]] = {"width": "size", "height": "size"}

    prompt: Prompt
    model: CleanText | None = None
    size: str | None = None

    seed: int | None = None
    compute_budget: JsonValue = None
    negative_prompt: CleanText | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    deadline_s: float | None = None
    on_deadline: Annotated[str | None, Field(max_length=16)] = None
    priority: int | None = None
    metadata: dict[str, JsonValue] | None = None

    @field_validator("size")
    @classmethod
    def _width_by_height(cls, size: str | None) -> str | None:
        if size not in (None, "auto") and not _SIZE.fullmatch(size):
            raise ValueError("must be WIDTHxHEIGHT, such as 64x64, or auto")
        return size

    def native(self, model: str, given: Mapping[str, Any], budget: JsonValue) -> GenerationRequest:
        """The same request in the native shape.

        Args:
            given: input fields beside those that all requests have.

        Raises:
            InvalidRequest: `param` is the field of this request.
        """
        fields = {**self._sent(_INPUT_FIELDS), **given}
        if self.size is not None and (size := _SIZE.fullmatch(self.size)):
            fields |= {"width": int(size[1]), "height": int(size[2])}
        body = {"model": model, "input": fields, "compute_budget": budget, **self._sent(_JOB_FIELDS)}
        try:
            return validate(GenerationRequest, body)
        except InvalidRequest as error:
            raise self.renamed(error) from None

    def renamed(self, error: RheostatError) -> RheostatError:
        """The error with `param` as this request names it."""
        if error.param is not None:
            name = error.param.removeprefix("input.")
            error.param = self.NAMES.get(name, name)
        return error

    def _sent(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The fields that say something."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
