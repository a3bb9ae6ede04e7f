"""The job queue: both sides in one class."""

from __future__ import annotations

from protocol.jobqueue._gateway import GatewaySide
from protocol.jobqueue._worker import WorkerSide


class JobQueue(GatewaySide, WorkerSide):
    """Jobs in Redis or Valkey: every accepted job ends exactly once.

    A call whose reply is lost may be repeated: the scripts know their own arguments again. Where Redis is
    away every method raises `protocol.errors.Unavailable` with `retry_after_s`.
    """
