"""The request as the caller writes it: the native body of `POST /v1/generations`, frozen.

Checks here need nothing but the body. What depends on the model (sizes, steps, fields a family lacks) is
checked by `protocol.resolve` against the model's catalog entry.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from protocol.budget import ComputeBudget
from protocol.text import CleanObject, CleanText, require_clean

MAX_SEED = 2**53 - 1
MAX_PROMPT_CHARACTERS = 8_192
MAX_SAMPLES = 16
JOB_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

# Lengths stand before the validator: pydantic then reads them as a text's, in messages and in the OpenAPI
# schema.
Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS), AfterValidator(require_clean)]
NegativePrompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS), AfterValidator(require_clean)]
ModelName = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(require_clean)]
WebhookUrl = Annotated[str, Field(max_length=2_048), AfterValidator(require_clean)]
LoraName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Side = Annotated[int, Field(ge=1, le=65_536)]


def absent(value: object) -> bool:
    """Left out of what is stored where there is none, so that an older build reads it."""
    return value is None


class GenerationInput(BaseModel):
    """What to make. Fields left out take the model's default; fields a family does not have are refused.

    `length` and `given`, the tokens to keep (see `protocol.given`), are for models of text and music, which
    take no prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    prompt: Prompt | None = None
    negative_prompt: NegativePrompt | None = None
    width: Side | None = None
    height: Side | None = None
    num_frames: Annotated[int, Field(ge=1, le=10_000)] | None = None
    num_inference_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    guidance_scale: Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 1
    image: CleanText | None = None
    representation: CleanObject | None = None
    given: CleanObject | None = None
    length: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    lora: LoraName | None = Field(default=None, exclude_if=absent)

    @field_validator("prompt")
    @classmethod
    def _not_blank(cls, prompt: str | None) -> str | None:
        if prompt is not None and not prompt.strip():
            raise ValueError("must not be blank")
        return prompt

    @model_validator(mode="after")
    def _seeds_in_range(self) -> Self:
        if self.seed is not None and self.seed + self.n - 1 > MAX_SEED:
            raise ValueError(f"seed + n - 1 must be at most {MAX_SEED}")
        return self


class GenerationRequest(BaseModel):
    """One job as asked for."""

    # Errors are logged, and a prompt must not be.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    model: ModelName
    input: GenerationInput
    compute_budget: ComputeBudget = ComputeBudget()
    deadline_s: Annotated[float, Field(gt=0.0, le=86_400.0, allow_inf_nan=False)] | None = None
    on_deadline: Literal["continue", "cancel"] = "continue"
    priority: Annotated[int, Field(ge=-2, le=2)] = 0
    webhook_url: WebhookUrl | None = None
    metadata: Annotated[dict[CleanText, CleanText], Field(max_length=16)] | None = None

    @field_validator("compute_budget", mode="before")
    @classmethod
    def _number_is_fraction(cls, value: Any) -> Any:
        if value is None:
            return ComputeBudget()
        if isinstance(value, bool) or not isinstance(value, int | float | dict | ComputeBudget):
            raise ValueError("must be a number in (0, 1] or an object")
        if isinstance(value, int | float):
            if not 0.0 < value <= 1.0:
                raise ValueError("must be in (0, 1]")
            return ComputeBudget(fraction=float(value))
        return value
