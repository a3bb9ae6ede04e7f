"""The job queue in Redis or Valkey: jobs, leases, events, the model catalog. See `docs/architecture.md`."""

from __future__ import annotations

from protocol.jobqueue._base import UnsuitableServer
from protocol.jobqueue._worker import Publication
from protocol.jobqueue.catalog import Catalog
from protocol.jobqueue.hub import EventHub
from protocol.jobqueue.jobqueue import JobQueue
from protocol.jobqueue.settings import QueueSettings
from protocol.records import (
    UNTIL_IDLE,
    Claim,
    ClaimedJob,
    JobKey,
    JobRecord,
    JobResult,
    ModelLoad,
    ModelRoom,
    NewJob,
    Page,
    StreamedEvent,
    Submission,
    WorkerPresence,
)

__all__ = [
    "UNTIL_IDLE",
    "Catalog",
    "Claim",
    "ClaimedJob",
    "EventHub",
    "JobKey",
    "JobQueue",
    "JobRecord",
    "JobResult",
    "ModelLoad",
    "ModelRoom",
    "NewJob",
    "Page",
    "Publication",
    "QueueSettings",
    "StreamedEvent",
    "Submission",
    "UnsuitableServer",
    "WorkerPresence",
]
