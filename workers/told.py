"""What an engine process tells of a job's life where its trace is wanted; the supervisor makes spans of it.

One lease is one attempt; `lease` names both, `tenant/id#token`. Times are seconds since 1970.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["encode", "decode", "store"]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    lease: str


class Began(_Told):
    """A job was claimed. `before` is the lease of the attempt before, if there was one."""

    type: Literal["began"] = "began"
    traceparent: str | None
    before: str | None
    attempt: int
    model: str
    budget: float
    granted: float
    created_s: float
    claimed_s: float


class Staged(_Told):
    """A stage is over; `sample` where each sample has one of its own."""

    type: Literal["staged"] = "staged"
    stage: Stage
    began_s: float
    ended_s: float
    sample: int | None = None


class Stepped(_Told):
    """One evaluation of one sample, `seconds` of which were its own."""

    type: Literal["stepped"] = "stepped"
    ended_s: float
    seconds: float
    sample: int
    index: int
    action: str
    blocks_run: int
    tflops: float
    risk: float | None = None


class Over(_Told):
    """The attempt is over: how, and what the denoiser spent. `code` is the error's, if it failed."""

    type: Literal["over"] = "over"
    outcome: str
    ended_s: float
    tflops: float
    code: str | None = None


Told = Annotated[Began | Staged | Stepped | Over, Field(discriminator="type")]
