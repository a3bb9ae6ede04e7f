"""What the engine tells, on to where it belongs: callers, metrics, traces, and the ends of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workers.auditor import Auditor
from workers.board import Verdict
from workers.engine import (
    Cancelled,
    EngineEvent,
    Failed,
    Finished,
    Previewed,
    SampleFinished,
    Started,
    StepDone,
)
from workers.finisher import Finisher
from workers.meter import Meter
from workers.publisher import Publisher
from workers.roster import HeldJob, Roster
from workers.story import Storyteller
from workers.telling import tell_preview, tell_step


class Settler:
    """Books what a turn did."""

    def __init__(
        self,
        roster: Roster,
        *,
        publisher: Publisher,
        finisher: Finisher,
        meter: Meter,
        story: Storyteller,
        auditor: Auditor,
        end_by: Callable[[HeldJob, Verdict], None],
    ) -> None:
        """Args:
        end_by: ends a job that the engine dropped as it was told to.
        """
        self._roster = roster
        self._publisher = publisher
        self._finisher = finisher
        self._meter = meter
        self._story = story
        self._auditor = auditor
        self._end_by = end_by

    def settle(self, events: Iterable[EngineEvent]) -> None:
        """Take a turn's events, in order. Those of jobs whose end has begun are nobody's."""
        for event in events:
            job = self._roster.in_engine(event.id)
            if job is not None:
                self._settle(job, event)
            else:
                self._auditor.hear(event)

    def _settle(self, job: HeldJob, event: EngineEvent) -> None:
        if isinstance(event, StepDone):
            self._book(job, event)
        elif isinstance(event, Previewed):
            job.other_tflops += event.tflops
            self._publisher.add(job, tell_preview(event, job.claimed.attempt))
        elif isinstance(event, Started):
            job.other_tflops += job.running.text_tflops
            self._story.encoded(job, event)
        elif isinstance(event, SampleFinished):
            job.other_tflops += job.running.decode_tflops
            self._story.decoded(job, event)
        elif isinstance(event, Finished):
            self._finisher.complete(job, event.result)
        elif isinstance(event, Failed):
            self._finisher.fail(job, event.error)
        elif isinstance(event, Cancelled):
            self._end_by(job, job.fate or Verdict.CANCEL)

    def _book(self, job: HeldJob, done: StepDone) -> None:
        job.steps_done += 1
        job.spent_tflops += done.line.tflops
        self._meter.step(job.name, done.model, done.line, job.trace_id)
        self._publisher.add(job, tell_step(done, job.claimed.attempt))
        self._story.stepped(job, done)
