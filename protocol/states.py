"""The states of a job and of a worker."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class WorkerState(StrEnum):
    STARTING = "starting"
    """The engine process is being spawned."""
    WARMING = "warming"
    """Models load, the self-test and warm-up run."""
    READY = "ready"
    """Claims jobs."""
    DRAINING = "draining"
    """Takes no new job; finishes or hands back what runs."""
