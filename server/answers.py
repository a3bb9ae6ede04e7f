"""What callers are shown of a job, in the contract's shape."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from protocol.errors import ErrorInfo
from protocol.events import Artifact, Completed, Event, Variant, VariantName, encode_event
from protocol.receipts import MFLOP_PER_TFLOP, Receipt, Totals
from protocol.records import JobKey, JobRecord
from protocol.states import JobStatus
from server.signing import Signer


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ArtifactAnswer(_Answer):
    url: str
    media_type: str
    bytes: int
    sha256: str
    seed: int


class VariantAnswer(_Answer):
    """Another file of a result; sizes in pixels, of pictures."""

    url: str
    media_type: str
    bytes: int
    sha256: str
    width: int | None
    height: int | None


class VideoArtifactAnswer(ArtifactAnswer):
    """A video with what it plays and its stills by name."""

    width: int
    height: int
    frames: int
    fps: float
    duration_s: float
    variants: dict[VariantName, VariantAnswer]


class MusicArtifactAnswer(ArtifactAnswer):
    """Four voices as MIDI, `steps` sixteenths, with their piano roll and their score."""

    steps: int
    variants: dict[VariantName, VariantAnswer]


AnyArtifactAnswer = VideoArtifactAnswer | MusicArtifactAnswer | ArtifactAnswer


class Progress(_Answer):
    """Sums over samples."""

    step: int
    num_steps: int
    fraction: float


class Grant(_Answer):
    """What is known of a job's compute before it has spent any."""

    budget: float
    granted: float
    full_tflops: float


class GenerationAnswer(_Answer):
    """A job as `GET /v1/generations/{id}` shows it. Times are unix seconds."""

    id: str
    object: Literal["generation"] = "generation"
    status: JobStatus
    model: str
    created_at: int
    started_at: int | None
    completed_at: int | None
    progress: Progress
    compute: Totals | Grant
    artifacts: tuple[AnyArtifactAnswer, ...]
    error: ErrorInfo | None
    attempts: int
    cancel_requested: bool
    metadata: dict[str, str] | None
    status_url: str
    events_url: str
    cancel_url: str


class GenerationWithSteps(GenerationAnswer):
    """The same with every step, for `?include=steps`."""

    receipt: Receipt


class GenerationPage(_Answer):
    object: Literal["list"] = "list"
    data: tuple[GenerationAnswer, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class _CompletedAnswer(_Answer):
    """The `completed` event with URLs where the stored event has paths."""

    type: Literal["completed"] = "completed"
    artifacts: tuple[AnyArtifactAnswer, ...]
    compute: Totals


class Presenter:
    """Shows jobs to one request: signs links under the `address` its caller reaches us by."""

    def __init__(self, address: str, signer: Signer) -> None:
        self._base = address
        self._signer = signer

    def status_url(self, key: JobKey) -> str:
        return f"{self._base}/v1/generations/{key.id}"

    def artifacts(self, key: JobKey, stored: tuple[Artifact, ...]) -> tuple[AnyArtifactAnswer, ...]:
        return tuple(self._artifact(key, index, artifact) for index, artifact in enumerate(stored))

    def _artifact(self, key: JobKey, index: int, artifact: Artifact) -> AnyArtifactAnswer:
        url = self._base + self._signer.path(key, index)
        clip, score = artifact.clip, artifact.score
        shown = ArtifactAnswer(
            url=url,
            media_type=artifact.media_type,
            bytes=artifact.bytes,
            sha256=artifact.sha256,
            seed=artifact.seed,
        )
        variants = {variant.name: _variant(url, variant) for variant in artifact.variants}
        if score is not None:
            return MusicArtifactAnswer(**dict(shown), steps=score.steps, variants=variants)
        if clip is None:
            return shown
        return VideoArtifactAnswer(
            **dict(shown),
            width=clip.width,
            height=clip.height,
            frames=clip.frames,
            fps=clip.fps,
            duration_s=clip.duration_s,
            variants=variants,
        )

    def job(self, record: JobRecord) -> GenerationAnswer:
        """The job with its totals."""
        url = self.status_url(record.key)
        return GenerationAnswer(
            id=record.key.id,
            status=record.status,
            model=record.model,
            created_at=record.created_ms // 1000,
            started_at=_seconds(record.started_ms),
            completed_at=_seconds(record.completed_ms),
            progress=_progress(record),
            compute=record.totals or _grant(record),
            artifacts=self.artifacts(record.key, record.artifacts),
            error=record.error,
            attempts=record.attempts,
            cancel_requested=record.cancel_requested,
            metadata=record.request.metadata,
            status_url=url,
            events_url=f"{url}/events",
            cancel_url=f"{url}/cancel",
        )

    def event(self, key: JobKey, event: Event) -> bytes:
        """The event's data as it goes to the caller."""
        if not isinstance(event, Completed):
            return encode_event(event)
        shown = _CompletedAnswer(artifacts=self.artifacts(key, event.artifacts), compute=event.compute)
        return shown.model_dump_json().encode()


def _variant(url: str, variant: Variant) -> VariantAnswer:
    """Another file under its result's link, whose signature holds for both."""
    shown = variant.model_dump(include={"media_type", "bytes", "sha256", "width", "height"})
    return VariantAnswer(url=f"{url}&variant={variant.name}", **shown)


def _grant(record: JobRecord) -> Grant:
    return Grant(
        budget=record.request.compute_budget.share_of(record.full_mflop),
        granted=record.granted_mflop / record.full_mflop,
        full_tflops=record.full_mflop / MFLOP_PER_TFLOP,
    )


def _progress(record: JobRecord) -> Progress:
    total = max(record.num_steps, 1)
    done = record.num_steps if record.status is JobStatus.COMPLETED else record.step
    return Progress(step=done, num_steps=record.num_steps, fraction=round(min(done / total, 1.0), 4))


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else ms // 1000
