"""Step events on their way out: gathered over turns, one pipelined call for all jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from protocol.events import Event
from protocol.jobqueue import JobQueue
from workers.patience import patiently
from workers.roster import HeldJob


class Publisher:
    """Keeps each job's events in order, and sends them at most every `every_s`."""

    def __init__(self, queue: JobQueue, every_s: float, on_lost: Callable[[HeldJob], None]) -> None:
        """Args:
        on_lost: called when the queue says that a job is no longer ours.
        """
        self._queue = queue
        self._every_s = every_s
        self._on_lost = on_lost
        self._waiting: dict[str, tuple[HeldJob, list[Event]]] = {}
        self._dirty = asyncio.Event()
        self._sending = asyncio.Lock()

    def add(self, job: HeldJob, event: Event) -> None:
        """Queue an event; the job's progress goes with it."""
        if job.name not in self._waiting or self._waiting[job.name][0] is not job:
            self._waiting[job.name] = (job, [])  # what an older lease of the same job had to say is void
        self._waiting[job.name][1].append(event)
        self._dirty.set()

    def forget(self, job: HeldJob) -> None:
        """Drop what is not sent yet."""
        self._waiting.pop(job.name, None)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._dirty.wait()
            await self.flush()
            await asyncio.sleep(self._every_s)

    async def flush(self) -> None:
        """Send everything added so far; it has arrived when this returns."""
        async with self._sending:
            batch = list(self._waiting.values())
            self._waiting = {}
            self._dirty.clear()
            if batch:
                await self._send(batch)

    async def _send(self, batch: list[tuple[HeldJob, list[Event]]]) -> None:
        calls = [(job.claimed.key, job.claimed.token, events, job.steps_done) for job, events in batch]
        words = await patiently(lambda: self._queue.publish_many(calls), "publish")
        for (job, _), word in zip(batch, words, strict=True):
            if word == "lost":
                self._on_lost(job)
