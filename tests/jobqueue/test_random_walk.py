"""Any order of calls, right or stale: the books stay right, nobody runs twice, every job ends once."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable

import pytest

from protocol.jobqueue import ClaimedJob, JobKey, JobQueue
from protocol.states import JobStatus
from tests.jobqueue.conftest import MakeQueue
from tests.jobqueue.support import (
    DONE,
    MODEL,
    check_books,
    crash_worker,
    end_backoffs,
    events_of,
    expire_leases,
    new_job,
    step_event,
)

STEPS = 500


class Walk:
    """A client that calls at random and remembers every lease it ever had."""

    def __init__(self, queue: JobQueue, seed: int) -> None:
        self.queue = queue
        self.random = random.Random(seed)
        self.calls = 0
        self.submitted: list[JobKey] = []
        self.leases: list[tuple[str, ClaimedJob]] = []
        self.ended: dict[JobKey, int] = {}

    async def step(self) -> None:
        acts: list[tuple[Callable[[], Awaitable[object]], int]] = [
            *((self.submit, 6), (self.claim, 6), (self.commit, 4), (self.publish, 3), (self.renew, 2)),
            *((self.release, 2), (self.cancel, 2), (self.regrant, 1), (self.save, 1)),
            *((self.expire, 1), (self.crash, 1), (self.queue.reap, 2), (self.end_backoffs, 2)),
        ]
        [act] = self.random.choices([act for act, _ in acts], [weight for _, weight in acts])
        await act()

    async def submit(self) -> None:
        self.calls += 1
        name = f"j{self.calls}" if self.random.random() < 0.8 else f"j{self.random.randrange(9)}"
        key = ("/v1/generations", f"{self.random.randrange(8):064}") if self.random.random() < 0.3 else None
        size = self.random.choice([10, 10, 10, 400, 700])
        job = new_job(name, priority=self.random.randint(-2, 2), mem_bytes=size, idempotency=key)
        answer = await self.queue.submit(job)
        if answer.outcome == "ok":
            self.submitted.append(answer.key)

    async def claim(self) -> None:
        worker = f"w{self.random.randrange(3)}"
        token = secrets.token_hex(8)
        free, k = self.random.choice([50, 500, 1000]), self.random.randint(1, 4)
        answer = await self.queue.claim(worker, token, [MODEL], free, k)
        if answer.jobs:
            assert (await self.queue.claim(worker, token, [MODEL], free, k)).jobs == answer.jobs
        self.leases += [(worker, job) for job in answer.jobs]

    def any_lease(self) -> tuple[str, ClaimedJob] | None:
        if not self.leases:
            return None
        # Mostly a recent one, which probably holds; sometimes one long lost.
        return self.random.choice(self.leases[-6:] if self.random.random() < 0.8 else self.leases)

    async def commit(self) -> None:
        if lease := self.any_lease():
            job = lease[1]
            outcome = self.random.choice([JobStatus.COMPLETED, JobStatus.CANCELLED])
            if await self.queue.commit(job.key, job.token, outcome, 5, DONE) == "ok":
                self.ended[job.key] = self.ended.get(job.key, 0) + 1

    async def publish(self) -> None:
        if lease := self.any_lease():
            index = self.random.randrange(10**6)
            await self.queue.publish(lease[1].key, lease[1].token, [step_event(index)], step=1)

    async def renew(self) -> None:
        leases = [(job.key, job.token) for _, job in self.leases[-5:]]
        assert len(await self.queue.renew("w0", leases)) == len(leases)

    async def release(self) -> None:
        if lease := self.any_lease():
            await self.queue.release(lease[1].key, lease[1].token)

    async def save(self) -> None:
        if lease := self.any_lease():
            await self.queue.save(lease[1].key, lease[1].token, b"state", 1)

    async def cancel(self) -> None:
        if self.submitted:
            await self.queue.cancel(self.random.choice(self.submitted))

    async def regrant(self) -> None:
        if self.submitted:
            granted = self.random.randint(20, 50)
            await self.queue.regrant(self.random.choice(self.submitted), granted, granted + 10)

    async def expire(self) -> None:
        await expire_leases(self.queue)
        await self.queue.reap(self.random.randint(1, 5))

    async def crash(self) -> None:
        await self.queue.abandon(f"w{self.random.randrange(3)}")

    async def end_backoffs(self) -> None:
        await end_backoffs(self.queue)

    async def finish(self) -> None:
        """Run what is left to its end, with workers that never fail."""
        for worker in ("w0", "w1", "w2"):
            await crash_worker(self.queue, worker)
        while True:
            await end_backoffs(self.queue)
            token = secrets.token_hex(8)
            jobs = (await self.queue.claim("last", token, [MODEL], 1000, 2)).jobs
            if not jobs:
                return
            for job in jobs:
                assert await self.queue.commit(job.key, token, JobStatus.COMPLETED, 5, DONE) == "ok"


@pytest.mark.parametrize("seed", range(4))
async def test_a_random_walk_keeps_the_books(make_queue: MakeQueue, seed: int) -> None:
    queue = await make_queue(max_queued_jobs=12, max_passes=2)
    walk = Walk(queue, seed)
    for index in range(STEPS):
        await walk.step()
        if index % 25 == 0:
            await check_books(queue)
    await walk.finish()
    await check_books(queue)
    assert len(walk.submitted) > 30
    assert len(walk.ended) > 5
    assert set(walk.ended.values()) <= {1}
    for key in walk.submitted:
        record = await queue.get(key)
        assert record is not None
        assert record.status.ended, key
        events = await events_of(queue, key.id)
        assert [event for event in events if event in ("completed", "failed", "cancelled")] == [record.status]
