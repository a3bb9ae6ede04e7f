"""Every limit of the queue, with its default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from protocol import keys
from protocol.connection import ConnectionSettings

Positive = Annotated[int, Field(ge=1)]


class QueueSettings(BaseModel):
    """Settings of the job queue. Gateways and workers of one installation must agree on them.

    Attributes:
        partitions: how many independent parts the jobs are split into by tenant; more than 1 only pays on a
            Redis Cluster. Change it only when the queue is drained.
        max_queued_jobs: waiting jobs of one model (in one partition) before submits are refused as `full`.
        default_due_ms: when a job without a deadline is due, counted from acceptance.
        lease_ttl_ms: how long a claimed job is left alone without a renewal. Longer rides out longer pauses
            of the network, shorter finds dead workers sooner.
        max_solo_crashes: a job that crashed its worker twice runs alone; after so many crashes alone it fails
            with `attempts_exhausted`.
        backoff_ms, max_backoff_ms: pause after a crash, doubling with each.
        max_passes: how often a job that does not fit may be passed over before a worker waits for it.
        ended_ttl_s: how long an ended job can be looked up.
        idempotency_ttl_s: how long after the job's end its idempotency key is kept, at least.
        events_ttl_s: how long after the end the events can be replayed.
        previews_bytes: what the latest previews of one running job, one a sample, may take together. One that
            does not fit is told to those who listen and not kept for those who come later; 0 keeps none.
        durability: what a submit or commit waits for: `memory` nothing beyond the reply, `fsync` the
            append-only file (WAITAOF), `replica` one replica (WAIT).
        durability_timeout_ms: after this long such a wait is reported as Unavailable.
        retry_after_s: what callers are told when Redis is away.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    partitions: Annotated[int, Field(ge=1, le=1024)] = 1
    max_queued_jobs: Positive = 1_000
    default_due_ms: Positive = 60_000
    lease_ttl_ms: Annotated[int, Field(ge=200)] = keys.LEASE_TTL_MS
    max_solo_crashes: Positive = 2
    backoff_ms: Positive = 1_000
    max_backoff_ms: Positive = 60_000
    max_passes: Positive = 16
    ended_ttl_s: Positive = keys.ENDED_JOB_TTL_S
    idempotency_ttl_s: Annotated[int, Field(ge=keys.MIN_IDEMPOTENCY_TTL_S)] = keys.MIN_IDEMPOTENCY_TTL_S
    events_ttl_s: Positive = keys.EVENTS_TTL_S
    previews_bytes: Annotated[int, Field(ge=0)] = 2**20
    durability: Literal["memory", "fsync", "replica"] = "memory"
    durability_timeout_ms: Positive = 2_000
    retry_after_s: Annotated[int, Field(ge=1, le=120)] = 2
    connection: ConnectionSettings = ConnectionSettings()
