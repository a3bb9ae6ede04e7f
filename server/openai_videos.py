"""The videos API as OpenAI's clients speak it, translated to and from the native request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from protocol.catalog import CatalogEntry
from protocol.errors import ErrorInfo
from protocol.jobs import GenerationRequest
from protocol.receipts import Totals
from protocol.records import JobRecord
from protocol.states import JobStatus
from protocol.text import CleanText
from server import forms
from server.answers import Grant, Presenter
from server.lengths import frames_for, spelled
from server.openai_requests import OpenAIRequest

VideoStatus = Literal["queued", "in_progress", "completed", "failed"]

STATUSES: Mapping[JobStatus, VideoStatus] = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "in_progress",
    JobStatus.COMPLETED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "failed",
}
CANCELLED = ErrorInfo(code="cancelled", message="the job was cancelled")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)
_NUMBERS = (
    *("seed", "num_frames", "num_inference_steps", "guidance_scale", "deadline_s", "priority"),
    *("compute_budget", "compute_budget.fraction", "compute_budget.floor", "compute_budget.tflops"),
)
"""Fields of a form whose text stands for a number."""


class VideoRequest(OpenAIRequest):
    """The body of `POST /v1/videos`, as JSON or as a form.

    `seconds` goes to the nearest length the model can make; `num_frames` says it exactly. For models that
    start from an image `input_reference` is a file, or `{"image_url": ...}` with a data URL or an artifact's.
    """

    NAMES: ClassVar[Mapping[str, str]] = {**OpenAIRequest.NAMES, "image": "input_reference"}

    seconds: float | str | None = None
    num_frames: int | None = None
    input_reference: CleanText | None = None

    @field_validator("seconds")
    @classmethod
    def _a_length(cls, seconds: float | str | None) -> float | str | None:
        if isinstance(seconds, str) and not _SECONDS.fullmatch(seconds):
            raise ValueError("must be a number of seconds, such as 4 or 0.5")
        if seconds is not None and float(seconds) <= 0:
            raise ValueError("must be above 0")
        return seconds

    @field_validator("input_reference", mode="before")
    @classmethod
    def _by_its_content(cls, reference: Any) -> Any:
        if isinstance(reference, dict):
            if set(reference) != {"image_url"}:
                raise ValueError('must be a file, or {"image_url": a data URL or an artifact\'s URL}')
            return reference["image_url"]
        return reference

    @model_validator(mode="after")
    def _one_length(self) -> VideoRequest:
        if self.seconds is not None and self.num_frames is not None:
            raise ValueError("give either seconds or num_frames, not both")
        return self


def read_form(body: bytes, content_type: str) -> Any:
    """The tree of a form that asks for a video; raises as `forms.parse` does."""
    return forms.numbers(forms.parse(body, content_type, files=("input_reference",)), _NUMBERS)


def to_native(video: VideoRequest, entry: CatalogEntry) -> GenerationRequest:
    """The same request in the native shape.

    Raises:
        InvalidRequest: `param` is the field of the video request.
    """
    given: dict[str, Any] = {}
    if (num_frames := _num_frames(video, entry)) is not None:
        given["num_frames"] = num_frames
    if video.input_reference is not None:
        given["image"] = video.input_reference
    return video.native(entry.name, given, video.compute_budget)


def _num_frames(video: VideoRequest, entry: CatalogEntry) -> int | None:
    """The legal number of frames nearest to the length asked for; None: the model's default."""
    if video.seconds is None:
        return video.num_frames
    assert entry.frames is not None, "models of videos say how many frames they make"
    return frames_for(float(video.seconds), entry.name, entry.frames, fps_of(entry))


def fps_of(entry: CatalogEntry) -> float:
    assert entry.fps is not None, "models of videos say how fast they play"
    return entry.fps


def is_video(record: JobRecord) -> bool:
    """Whether a job, however it was asked for, makes a video."""
    return record.request.input.num_frames is not None


class VideoAnswer(BaseModel):
    """A video as OpenAI's clients read it, then our own fields. Times are unix seconds, progress percent."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["video"] = "video"
    status: VideoStatus
    model: str
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error: ErrorInfo | None
    prompt: str
    seconds: str
    size: str
    remixed_from_video_id: None = None

    num_frames: int
    fps: float
    seed: int
    compute: Totals | Grant
    status_url: str
    events_url: str
    cancel_url: str


class VideoPage(BaseModel):
    model_config = ConfigDict(frozen=True)

    object: Literal["list"] = "list"
    data: tuple[VideoAnswer, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


def video_answer(record: JobRecord, entry: CatalogEntry, present: Presenter, ttl_s: int) -> VideoAnswer:
    """The job as a video.

    Args:
        ttl_s: how long an ended job and its files can be had.
    """
    job, given, fps = present.job(record), record.request.input, _fps(record, entry)
    assert given.num_frames is not None, "resolve() fills the frames"
    assert given.prompt is not None, "models of videos need a prompt"
    assert given.seed is not None, "resolve() fills the seed"
    return VideoAnswer(
        id=job.id,
        status=STATUSES[record.status],
        model=job.model,
        progress=_percent(record, job.progress.fraction),
        created_at=job.created_at,
        completed_at=job.completed_at,
        expires_at=None if job.completed_at is None else job.completed_at + ttl_s,
        error=CANCELLED if record.status is JobStatus.CANCELLED else job.error,
        prompt=given.prompt,
        seconds=spelled(given.num_frames / fps),
        size=f"{given.width}x{given.height}",
        num_frames=given.num_frames,
        fps=fps,
        seed=given.seed,
        compute=job.compute,
        status_url=job.status_url,
        events_url=job.events_url,
        cancel_url=job.cancel_url,
    )


def _fps(record: JobRecord, entry: CatalogEntry) -> float:
    """How fast the video plays: as it was stored, or as it would be now."""
    clips = [artifact.clip for artifact in record.artifacts if artifact.clip is not None]
    return clips[0].fps if clips else fps_of(entry)


def _percent(record: JobRecord, fraction: float) -> int:
    """100 is kept for what is completed: after the last step a video is decoded, encoded and stored."""
    return 100 if record.status is JobStatus.COMPLETED else min(99, int(100 * fraction))
