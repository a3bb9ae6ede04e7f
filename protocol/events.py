"""What a job tells while it lives. One class an event; `type` is the name on the stream."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from protocol.errors import ErrorInfo
from protocol.receipts import Action, Totals


class _Event(BaseModel):
    # Finite, because JSON would carry NaN as null, and no reader could decode the event.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


VariantName = Literal["thumbnail", "spritesheet", "roll", "musicxml"]


class Variant(_Event):
    """Another file of a result: a still of a video, the piano roll or the MusicXML of music.

    Sizes in pixels, of pictures.
    """

    name: VariantName
    path: str
    media_type: str
    bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None


class Clip(_Event):
    """What a stored video plays: `frames` of `width` x `height` pixels, `fps` of them a second."""

    width: int
    height: int
    frames: int
    fps: float
    variants: tuple[Variant, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.frames / self.fps


class Score(_Event):
    """What stored music is: `steps` sixteenths of four voices."""

    steps: int
    variants: tuple[Variant, ...] = ()


class Artifact(_Event):
    """A stored result. `path` is its place in the artifact store; a video has a `clip`, music a `score`."""

    path: str
    media_type: str
    bytes: int
    sha256: str
    seed: int
    clip: Clip | None = None
    score: Score | None = Field(default=None, exclude_if=lambda score: score is None)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Its other files."""
        shown = self.clip or self.score
        return () if shown is None else shown.variants


class Queued(_Event):
    """Made by the gateway from the job itself; never stored."""

    type: Literal["queued"] = "queued"
    position: int | None = None
    eta_s: float | None = None


class Started(_Event):
    type: Literal["started"] = "started"
    attempt: int


class Step(_Event):
    """One evaluation of one sample. `spent` is the sample's TFLOPs so far."""

    type: Literal["step"] = "step"
    sample: int
    attempt: int
    index: int
    action: Action
    blocks_run: int
    tflops: float
    spent: float
    risk: float | None = None
    threshold: float | None = None


class Preview(_Event):
    """Not logged: who listens hears all of them, who comes later the latest of each sample."""

    type: Literal["preview"] = "preview"
    sample: int
    attempt: int
    step: int
    b64_png: str


class Requeued(_Event):
    type: Literal["requeued"] = "requeued"
    attempt: int
    reason: Literal["drain", "preempt", "crash", "lease_expired"]


class Degraded(_Event):
    """`from_` and `to` are shares of full compute; on the wire the first is `from`."""

    model_config = ConfigDict(populate_by_name=True)

    type: Literal["degraded"] = "degraded"
    from_: Annotated[float, Field(alias="from")]
    to: float


class Cancelling(_Event):
    type: Literal["cancelling"] = "cancelling"


class Completed(_Event):
    type: Literal["completed"] = "completed"
    artifacts: tuple[Artifact, ...]
    compute: Totals


class Failed(_Event):
    type: Literal["failed"] = "failed"
    error: ErrorInfo


class Cancelled(_Event):
    type: Literal["cancelled"] = "cancelled"


Event = Annotated[
    Queued | Started | Step | Preview | Requeued | Degraded | Cancelling | Completed | Failed | Cancelled,
    Field(discriminator="type"),
]
TERMINAL_TYPES = frozenset({"completed", "failed", "cancelled"})

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def encode_event(event: Event) -> bytes:
    """The event as JSON, as it stands on the stream and in the server-sent event."""
    return _ADAPTER.dump_json(event, by_alias=True, exclude_none=True)


def decode_event(raw: bytes | str) -> Event:
    """Inverse of `encode_event`; raises pydantic's ValidationError on anything else."""
    return _ADAPTER.validate_json(raw)
