"""The nouns of the job queue: what goes in, what is kept, what a worker gets, what a run leaves behind.

Compute is integer MFLOP, times are integer milliseconds since 1970 by the clock of Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from protocol.errors import ErrorInfo
from protocol.events import Artifact, Event
from protocol.jobs import GenerationRequest
from protocol.receipts import Totals
from protocol.states import JobStatus, WorkerState

UNTIL_IDLE = 2**62
"""`Claim.wait_bytes` of a job that must run alone: no amount of free memory will do, only an idle worker."""


class JobKey(NamedTuple):
    """A job's name: ids are a space of their own per tenant."""

    tenant: str
    id: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.id}"

    @classmethod
    def parse(cls, name: str) -> JobKey:
        """Inverse of `str`."""
        tenant, _, job_id = name.partition("/")
        return cls(tenant, job_id)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be queued.

    Attributes:
        request: resolved against the catalog.
        fingerprint: SHA-256 of the validated body before defaults; the same id with another is a conflict.
        digest: the weights it was priced for.
        full_mflop, granted_mflop, floor_mflop: unabridged cost, what was granted, how low it may still go.
        units: reserved upper bound.
        mem_bytes: what must be free on a worker to start it.
        due_ms: when it should be done; None: `default_due_ms` after acceptance.
        plan_steps: evaluations of all samples, for progress.
        idempotency: (route, SHA-256 of the caller's Idempotency-Key).
        trace: the `traceparent` of its admission, if it is traced.
        audit: whether it may be run again to see what its budget cost.
    """

    key: JobKey
    request: GenerationRequest
    fingerprint: str
    model: str
    digest: str
    full_mflop: int
    granted_mflop: int
    units: int
    mem_bytes: int
    plan_steps: int
    floor_mflop: int = 0
    due_ms: int | None = None
    idempotency: tuple[str, str] | None = None
    trace: str | None = None
    audit: bool = True


Outcome = Literal["ok", "replay", "conflict", "full", "quota"]


class Submission(NamedTuple):
    """What became of a submit. `key` is the job that stands, an older one if an idempotency key led to it."""

    outcome: Outcome
    key: JobKey


class JobResult(BaseModel):
    """What a commit stores beside the end state; a few hundred bytes a sample.

    `receipt_path` is the whole receipt's place in the artifact store.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifacts: tuple[Artifact, ...] = ()
    totals: Totals | None = None
    error: ErrorInfo | None = None
    receipt_path: str | None = None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it stands.

    Attributes:
        status: `queued` also while it waits out a back-off after a crash.
        attempts: leases so far, those handed back not counted; 0 before the first.
        started_ms: first claim.
        step, num_steps: evaluations done and planned, summed over samples.
        seq: the last event's number.
    """

    key: JobKey
    status: JobStatus
    request: GenerationRequest
    model: str
    digest: str
    fingerprint: str
    full_mflop: int
    granted_mflop: int
    units: int
    flow: str
    due_ms: int
    created_ms: int
    started_ms: int | None
    completed_ms: int | None
    attempts: int
    cancel_requested: bool
    step: int
    num_steps: int
    seq: int
    worker: str | None
    artifacts: tuple[Artifact, ...]
    totals: Totals | None
    error: ErrorInfo | None
    receipt_path: str | None


class Page(NamedTuple):
    """A tenant's jobs, newest first."""

    records: tuple[JobRecord, ...]
    has_more: bool


class ModelLoad(NamedTuple):
    """What waits and runs for one model. `oldest_ms` is the age of the oldest waiting job, or 0."""

    queued_jobs: int
    queued_units: int
    running_jobs: int
    running_units: int
    oldest_ms: int
    dead: int


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job under lease.

    Attributes:
        token: fences every later call about this lease; the one the claim was made with.
        attempt: 1 for the first.
        solo: must run alone: the worker claims nothing more until it has ended.
        checkpoint: what `save` left, if anything.
        cancel: cancelled meanwhile (only seen when a claim is repeated).
        trace, audit: see `NewJob`.
        before: the token of the lease before this one, which was handed back or crashed.
    """

    key: JobKey
    request: GenerationRequest
    token: str
    attempt: int
    digest: str
    full_mflop: int
    granted_mflop: int
    due_ms: int
    created_ms: int
    solo: bool
    checkpoint: bytes | None
    cancel: bool
    trace: str | None = None
    audit: bool = True
    before: str | None = None


class ModelRoom(NamedTuple):
    """What one model may take of a worker's room: so many jobs, and memory as long as so much stays free."""

    jobs: int
    kept_bytes: int = 0


class Claim(NamedTuple):
    """What a claim brought.

    With `wait_bytes` the worker must not claim again until so many bytes are free or nothing runs on it: a
    large job has been passed over often enough.
    """

    jobs: tuple[ClaimedJob, ...]
    wait_bytes: int | None = None


class StreamedEvent(NamedTuple):
    """An event with its number; previews carry 0."""

    seq: int
    event: Event


class WorkerPresence(BaseModel):
    """What a worker says of itself with every heartbeat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker: str
    state: WorkerState
    models: tuple[str, ...]
