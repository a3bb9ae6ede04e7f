"""The engine's side of a trace: tells the supervisor, beside the metrics, what becomes of jobs.

Spans are made and sent over there, so that the engine process has no thread for it and its steps no more to
do than to note what happened; and so that an attempt whose engine was killed still has its span.
"""

from __future__ import annotations

import time

from protocol.tracing import TraceContext
from workers.engine import SampleFinished, Started, StepDone
from workers.meter import Meter
from workers.roster import HeldJob
from workers.told import Began, Over, Stage, Staged, Stepped


class Storyteller:
    """Tells of jobs from claim to end; of none if tracing is off, or the job's trace is not sampled."""

    def __init__(self, meter: Meter, *, on: bool) -> None:
        self._meter = meter
        self._on = on
        self._leases: set[str] = set()

    def begin(self, job: HeldJob) -> None:
        """The job was claimed just now."""
        claimed = job.claimed
        context = TraceContext.parse(claimed.trace)
        if not self._on or (context is not None and not context.sampled):
            return
        self._leases.add(job.lease_name)
        self._meter.tell(
            Began(
                lease=job.lease_name,
                traceparent=None if context is None else claimed.trace,
                before=None if claimed.before is None else f"{job.name}#{claimed.before}",
                attempt=claimed.attempt,
                model=job.model,
                budget=claimed.request.compute_budget.share_of(claimed.full_mflop),
                granted=claimed.granted_mflop / claimed.full_mflop,
                created_s=claimed.created_ms / 1000,
                claimed_s=time.time(),
            )
        )

    def encoded(self, job: HeldJob, event: Started) -> None:
        self._staged(job, "encode", event.began_s, event.ended_s)

    def stepped(self, job: HeldJob, event: StepDone) -> None:
        if job.lease_name not in self._leases:
            return
        line = event.line
        self._meter.tell(
            Stepped(
                lease=job.lease_name,
                ended_s=event.ended_s,
                seconds=line.seconds,
                sample=event.sample,
                index=line.index,
                action=line.action,
                blocks_run=line.blocks_run,
                tflops=line.tflops,
                risk=line.risk,
            )
        )

    def decoded(self, job: HeldJob, event: SampleFinished) -> None:
        self._staged(job, "decode", event.began_s, event.ended_s, event.sample)

    def stored(self, job: HeldJob, began_s: float) -> None:
        """Its files were stored just now."""
        self._staged(job, "store", began_s, time.time())

    def end(self, job: HeldJob, outcome: str, code: str | None = None) -> None:
        """The lease ended just now: with the job, handed back, or lost."""
        if job.lease_name in self._leases:
            self._leases.remove(job.lease_name)
            self._meter.tell(
                Over(
                    lease=job.lease_name,
                    outcome=outcome,
                    ended_s=time.time(),
                    tflops=job.spent_tflops,
                    code=code,
                )
            )

    def _staged(
        self, job: HeldJob, stage: Stage, began_s: float, ended_s: float, sample: int | None = None
    ) -> None:
        if job.lease_name in self._leases:
            told = Staged(lease=job.lease_name, stage=stage, began_s=began_s, ended_s=ended_s, sample=sample)
            self._meter.tell(told)
