"""A real client of the queue where no model is needed: claims jobs, tells steps, stores bytes, commits."""

from __future__ import annotations

import asyncio
import io
import secrets
from contextlib import suppress

from PIL import Image

from protocol.artifacts import ArtifactStore
from protocol.errors import ErrorInfo
from protocol.events import Step
from protocol.jobqueue import Catalog, ClaimedJob, JobQueue, JobResult
from protocol.receipts import Action, PlanSummary, Receipt, SampleReceipt, StepLine
from protocol.resolve import seeds
from protocol.states import JobStatus, WorkerState

FREE_BYTES = 2**40
BLOCKS = 8
BROKEN = "break"
"""A prompt whose job fails."""


def picture(seed: int, width: int, height: int) -> bytes:
    """A PNG of one colour, which the seed picks."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), ((seed * 37) % 256, (seed * 59) % 256, 80)).save(buffer, "PNG")
    return buffer.getvalue()


class StandIn:
    """Runs one job at a time. `hold()` stops it before each step until `let_go()`."""

    def __init__(self, jobqueue: JobQueue, store: ArtifactStore, models: list[str]) -> None:
        self._queue = jobqueue
        self._store = store
        self._models = models
        self._free = asyncio.Event()
        self._free.set()
        self._task: asyncio.Task[None] | None = None
        self.worker = f"stand-in-{secrets.token_hex(3)}"
        self.claimed: list[ClaimedJob] = []

    async def start(self) -> None:
        await Catalog(self._queue).heartbeat(self.worker, WorkerState.READY, self._models)
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def hold(self) -> None:
        self._free.clear()

    def let_go(self) -> None:
        self._free.set()

    async def _work(self) -> None:
        while True:
            await self._queue.wait_bell(self._models, 0.5)
            token = secrets.token_hex(16)
            claim = await self._queue.claim(self.worker, token, self._models, FREE_BYTES, 1)
            for job in claim.jobs:
                self.claimed.append(job)
                await self._run(job, token)

    async def _run(self, job: ClaimedJob, token: str) -> None:
        steps = max(1, len(seeds(job.request)) * (job.request.input.num_inference_steps or 1))
        each = job.granted_mflop / steps / 1e6
        if job.request.input.prompt == BROKEN:
            error = ErrorInfo(code="sample_failed", message="the sample failed")
            await self._queue.commit(job.key, token, JobStatus.FAILED, 0, JobResult(error=error))
            return
        for index in range(steps):
            if await self._cancelled(job, token):
                await self._queue.commit(job.key, token, JobStatus.CANCELLED, 0, JobResult())
                return
            step = Step(
                sample=0, attempt=job.attempt, index=index, action=Action.FULL,
                blocks_run=BLOCKS, tflops=each, spent=each * (index + 1),
            )  # fmt: skip
            await self._queue.publish(job.key, token, [step], index + 1)
        await self._finish(job, token, each, steps)

    async def _cancelled(self, job: ClaimedJob, token: str) -> bool:
        """Waits while held, renewing the lease; true once the job is flagged."""
        while True:
            [word] = await self._queue.renew(self.worker, [(job.key, token)])
            if word != "ok" or self._free.is_set():
                return word == "cancel"
            with suppress(TimeoutError):
                await asyncio.wait_for(self._free.wait(), 0.05)

    async def _finish(self, job: ClaimedJob, token: str, each: float, steps: int) -> None:
        given = job.request.input
        assert given.width
        assert given.height
        artifacts = [
            await self._store.put(
                job.key, job.attempt, index, picture(seed, given.width, given.height), "image/png", seed
            )
            for index, seed in enumerate(seeds(job.request))
        ]
        receipt = _receipt(job, each, steps)
        path = await self._store.put_receipt(job.key, job.attempt, receipt)
        result = JobResult(artifacts=tuple(artifacts), totals=receipt.totals, receipt_path=path)
        await self._queue.commit(job.key, token, JobStatus.COMPLETED, job.granted_mflop, result)


def _receipt(job: ClaimedJob, each: float, steps: int) -> Receipt:
    full, granted = job.full_mflop / 1e6, job.granted_mflop / 1e6
    lines = tuple(
        StepLine(
            index=index,
            action=Action.FULL,
            blocks_run=BLOCKS,
            blocks_total=BLOCKS,
            tflops=each,
            seconds=0.001,
        )
        for index in range(steps)
    )
    plan = PlanSummary(methods=(), num_inference_steps=steps, solver="euler")
    sample = SampleReceipt(
        seed=seeds(job.request)[0], granted=granted, spent=granted, nfe=steps, plan=plan, steps=lines
    )
    return Receipt(
        budget=1.0, granted=granted / full, spent=granted / full, full_tflops=full, tflops=granted,
        other_tflops=0.0, nfe=steps, wall_s=0.001 * steps, samples=(sample,),
    )  # fmt: skip
