"""How a job ends: bytes first, then the receipt, then one commit that names them.

Every path through here ends a held job exactly once: committed (completed, failed, cancelled), handed back,
or let go because it is no longer ours.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Literal

from protocol import metrics
from protocol.artifacts import ArtifactStore
from protocol.errors import ErrorInfo
from protocol.events import Artifact
from protocol.jobqueue import JobQueue
from protocol.logs import about
from protocol.receipts import MFLOP_PER_TFLOP, Receipt, Totals
from protocol.records import JobResult
from protocol.states import JobStatus
from workers.auditor import Auditor
from workers.engine import Result
from workers.meter import Meter, Waste
from workers.outputs import EncodedSample, encode_sample
from workers.patience import insist, patiently
from workers.publisher import Publisher
from workers.roster import HeldJob, Roster
from workers.side_talk import lost_tflops
from workers.story import Storyteller

_LOG = logging.getLogger("rheostat.worker")


class Finisher:
    """Ends jobs beside the engine's turns."""

    def __init__(
        self,
        queue: JobQueue,
        store: ArtifactStore,
        *,
        publisher: Publisher,
        meter: Meter,
        roster: Roster,
        story: Storyteller,
        auditor: Auditor,
    ) -> None:
        self._queue = queue
        self._store = store
        self._publisher = publisher
        self._meter = meter
        self._roster = roster
        self._story = story
        self._auditor = auditor
        self._open: set[asyncio.Task[object]] = set()
        self._failure: BaseException | None = None

    def check(self) -> None:
        """Raise what an earlier end failed with: a mistake of ours, on which the process must not live on."""
        if self._failure is not None:
            raise self._failure

    def complete(self, job: HeldJob, result: Result) -> None:
        """Store what came out and commit it."""
        self._begin(job, self._complete(job, result))

    def fail(self, job: HeldJob, error: ErrorInfo) -> None:
        """Commit the job as failed."""
        self._begin(job, self._commit(job, JobStatus.FAILED, JobResult(error=error, totals=job.totals)))

    def cancel(self, job: HeldJob) -> None:
        """Commit the job as cancelled, with what it spent."""
        self._begin(job, self._commit(job, JobStatus.CANCELLED, JobResult(totals=job.totals)))

    def hand_back(self, job: HeldJob, reason: Literal["drain", "preempt"]) -> None:
        """Return the job to the queue; no attempt is counted."""
        self._begin(job, self._hand_back(job, reason))

    def let_go(self, job: HeldJob) -> None:
        """Forget a job that somebody else owns by now: nothing more is written about it."""
        _LOG.warning("the job is lost: its lease is somebody else's", extra=job.log_ids)
        self._publisher.forget(job)
        self._close(job, "discarded", "lost")

    def _begin(self, job: HeldJob, work: Coroutine[None, None, object]) -> None:
        assert not job.ending, "a job ends once"
        job.ending = True
        with about(**job.log_ids):
            task = asyncio.create_task(work)
        self._open.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._open.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()

    def _close(self, job: HeldJob, waste: Waste | None, outcome: str, code: str | None = None) -> None:
        self._roster.drop(job)
        self._meter.settle(job.name, waste)
        self._story.end(job, outcome, code)
        self._meter.flush()  # a crash from here on must not write off what stands in a receipt

    async def _complete(self, job: HeldJob, result: Result) -> None:
        lost = await patiently(partial(lost_tflops, self._queue, job.claimed), "lost work")
        receipt = _of_attempt(result.receipt, job.claimed.attempt, lost)
        started, began_s = time.monotonic(), time.time()
        try:
            encoded = await self._encode(job, result)
            _, artifacts, receipt_path = await asyncio.gather(
                self._publisher.flush(),
                self._store_samples(job, encoded),
                self._store_receipt(job, _with_outputs(receipt, encoded)),
            )
        except Exception as error:
            _LOG.exception("the job cannot be stored")
            info = ErrorInfo(
                code="store_failed", message=f"the result could not be stored ({type(error).__name__})"
            )
            await self._commit(job, JobStatus.FAILED, JobResult(error=info, totals=receipt.totals))
            return
        self._story.stored(job, began_s)
        for stage, seconds in {**result.stage_seconds, "store": time.monotonic() - started}.items():
            self._meter.add(metrics.STAGE_SECONDS, seconds, job.model, stage, trace_id=job.trace_id)
        outcome = JobResult(artifacts=artifacts, totals=receipt.totals, receipt_path=receipt_path)
        if await self._commit(job, JobStatus.COMPLETED, outcome):
            await self._auditor.consider(job, result)

    async def _encode(self, job: HeldJob, result: Result) -> list[EncodedSample]:
        fps = job.running.fps
        return await asyncio.gather(
            *(asyncio.to_thread(encode_sample, sample, fps) for sample in result.samples)
        )

    async def _store_samples(self, job: HeldJob, encoded: Sequence[EncodedSample]) -> tuple[Artifact, ...]:
        stored = (self._store_sample(job, index, sample) for index, sample in enumerate(encoded))
        return tuple(await asyncio.gather(*stored))

    async def _store_sample(self, job: HeldJob, index: int, sample: EncodedSample) -> Artifact:
        key, attempt, store = job.claimed.key, job.claimed.attempt, self._store
        sides = (
            insist(partial(store.put_side, key, attempt, index, side), job.name) for side in sample.sides
        )
        shown = sample.shown(tuple(await asyncio.gather(*sides)))
        media_type = sample.output.media_type
        return await insist(
            partial(store.put, key, attempt, index, sample.data, media_type, sample.seed, shown), job.name
        )

    async def _store_receipt(self, job: HeldJob, receipt: Receipt) -> str:
        return await self._store.put_receipt(job.claimed.key, job.claimed.attempt, receipt)

    async def _commit(self, job: HeldJob, status: JobStatus, result: JobResult) -> bool:
        """Whether it was still ours to end."""
        await self._publisher.flush()
        key, token = job.claimed.key, job.claimed.token
        units = _units(result.totals)
        word = await patiently(lambda: self._queue.commit(key, token, status, units, result), "commit")
        if word == "lost":
            _LOG.warning("the job was lost before its commit")
            self._close(job, "discarded", "lost")
            return False
        self._count_end(job, status, result.totals)
        _LOG.info("the job is %s", status, extra=_account(job, result))
        self._close(job, None, status, None if result.error is None else result.error.code)
        return True

    async def _hand_back(self, job: HeldJob, reason: Literal["drain", "preempt"]) -> None:
        self._publisher.forget(job)
        key, token = job.claimed.key, job.claimed.token
        await patiently(lambda: self._queue.release(key, token, reason), "release")
        self._meter.add(metrics.ATTEMPTS, 1, job.model, reason)
        self._close(job, "discarded", "handed back")

    def _count_end(self, job: HeldJob, status: JobStatus, totals: Totals | None) -> None:
        add, model, now_s, trace_id = self._meter.add, job.model, time.time(), job.trace_id
        taken_s = max(0.0, now_s - job.claimed.created_ms / 1000)
        add(metrics.JOBS, 1, model, status)
        add(metrics.REQUEST_SECONDS, taken_s, model, status, trace_id=trace_id)
        if job.claimed.request.deadline_s is not None:
            add(metrics.DEADLINE_SLACK, job.claimed.due_ms / 1000 - now_s, model, trace_id=trace_id)
        if totals is None:
            return
        if status is JobStatus.COMPLETED:
            add(metrics.BUDGET_SPENT, totals.spent / totals.granted, model, trace_id=trace_id)
        kinds = {
            "full": totals.full_tflops,
            "requested": totals.budget * totals.full_tflops,
            "granted": totals.granted * totals.full_tflops,
            "spent": totals.tflops,
            "other": totals.other_tflops,
        }
        for kind, tflops in kinds.items():
            add(metrics.COMPUTE, tflops, model, kind)


def _account(job: HeldJob, result: JobResult) -> dict[str, object]:
    """What the log says of a job's end."""
    said: dict[str, object] = {"model": job.model, "attempt": job.claimed.attempt}
    if result.error is not None:
        said["code"] = result.error.code
    if result.totals is not None:
        said |= result.totals.model_dump(include={"granted", "spent", "tflops", "wall_s"})
    return said


def _with_outputs(receipt: Receipt, encoded: Sequence[EncodedSample]) -> Receipt:
    """The receipt with what each sample came to."""
    pairs = zip(receipt.samples, encoded, strict=True)
    samples = tuple(line.model_copy(update={"output": sample.output}) for line, sample in pairs)
    return receipt.model_copy(update={"samples": samples})


def _units(totals: Totals | None) -> int:
    """What is billed, in MFLOP."""
    return 0 if totals is None else round((totals.tflops + totals.other_tflops) * MFLOP_PER_TFLOP)


def _of_attempt(receipt: Receipt, attempt: int, lost: float) -> Receipt:
    """The engine knows no attempts; the lines of a job that started over say which one they are of."""
    samples = tuple(
        sample.model_copy(
            update={"steps": tuple(line.model_copy(update={"attempt": attempt}) for line in sample.steps)}
        )
        for sample in receipt.samples
    )
    return receipt.model_copy(update={"samples": samples, "lost_tflops": lost})
