"""A reply that never arrives: the driver sends the call again, and the queue must know it again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from protocol.errors import Unavailable
from protocol.jobqueue import JobKey, JobQueue, QueueSettings
from protocol.jobqueue.lua import load_scripts
from protocol.states import JobStatus
from tests.jobqueue.support import (
    DONE,
    MODEL,
    check_books,
    claim,
    crash_worker,
    events_of,
    new_job,
    step_event,
)
from tests.plugins.proxy import CutProxy

SETTINGS = QueueSettings()


@dataclass
class Line:
    """A queue whose every call goes through a proxy."""

    queue: JobQueue
    proxy: CutProxy

    def cut(self, script: str, times: int = 1) -> None:
        """The next replies of this script are lost."""
        self.proxy.cut(load_scripts(SETTINGS)[script].sha.encode(), times)


@pytest_asyncio.fixture
async def line(valkey_url: str) -> AsyncIterator[Line]:
    proxy = CutProxy(urlsplit(valkey_url).port or 0)
    async with proxy.running() as port:
        queue = await JobQueue.connect(f"redis://127.0.0.1:{port}", SETTINGS)
        try:
            yield Line(queue, proxy)
            await check_books(queue)
        finally:
            await queue.close()


@pytest.mark.parametrize("times", [1, 3])
async def test_submit(line: Line, times: int) -> None:
    line.cut("submit", times)
    assert (await line.queue.submit(new_job("a"))).outcome == "ok"
    assert line.proxy.seen == times + 1
    assert (await line.queue.load(MODEL)).queued_jobs == 1


async def test_claim(line: Line) -> None:
    for name in "abc":
        await line.queue.submit(new_job(name))
    line.cut("claim", 3)
    jobs = (await claim(line.queue, k=2)).jobs
    assert line.proxy.seen == 4
    assert [(job.key.id, job.attempt) for job in jobs] == [("a", 1), ("b", 1)]
    assert (await line.queue.load(MODEL)).running_jobs == 2
    assert await events_of(line.queue, "a") == ["started"]


async def test_publish(line: Line) -> None:
    await line.queue.submit(new_job("a"))
    [job] = (await claim(line.queue)).jobs
    for index in range(3):
        line.cut("publish")
        events = [step_event(2 * index), step_event(2 * index + 1)]
        assert await line.queue.publish(job.key, job.token, events, step=index) == "ok"
        assert line.proxy.seen == 2
    assert await events_of(line.queue, "a") == ["started", *["step"] * 6]


async def test_commit(line: Line) -> None:
    await line.queue.submit(new_job("a"))
    [job] = (await claim(line.queue)).jobs
    line.cut("commit")
    # The first one took effect; the repeat says so.
    assert await line.queue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE) == "already"
    assert await events_of(line.queue, "a") == ["started", "completed"]


async def test_release_and_cancel(line: Line) -> None:
    await line.queue.submit(new_job("a"))
    [job] = (await claim(line.queue)).jobs
    line.cut("release")
    assert await line.queue.release(job.key, job.token) == "ok"
    line.cut("cancel")
    assert await line.queue.cancel(JobKey("anna", "a")) == "already_cancelled"
    assert await events_of(line.queue, "a") == ["started", "requeued", "cancelled"]


async def test_abandon_and_reap(line: Line) -> None:
    await line.queue.submit(new_job("a"))
    await claim(line.queue)
    line.cut("abandon")
    await line.queue.abandon("w1")
    await crash_worker(line.queue)
    line.cut("reap")
    await line.queue.reap()
    [job] = (await claim(line.queue)).jobs
    assert (job.attempt, job.solo) == (2, False)


async def test_a_line_that_stays_cut_is_unavailable_and_the_repeat_attaches(line: Line) -> None:
    line.cut("submit", 99)
    with pytest.raises(Unavailable) as caught:
        await line.queue.submit(new_job("a"))
    assert caught.value.retry_after_s == SETTINGS.retry_after_s
    assert line.proxy.seen == SETTINGS.connection.retries + 1
    line.proxy.left = 0
    assert (await line.queue.submit(new_job("a"))).outcome == "replay"
    assert (await line.queue.load(MODEL)).queued_jobs == 1


async def test_twenty_jobs_through_a_line_that_keeps_breaking(line: Line) -> None:
    """Submit, claim and commit by two workers while every few replies are lost: each job ends once."""
    done: list[str] = []

    async def chaos() -> None:
        names = ["submit", "claim", "commit", "publish"]
        for turn in range(10_000):
            line.cut(names[turn % 4])
            await asyncio.sleep(0.05)  # a call that is cut is through again before its script is next

    async def work(worker: str) -> None:
        while len(done) < 20:
            for job in (await claim(line.queue, worker, k=2)).jobs:
                await line.queue.publish(job.key, job.token, [step_event(0, job.attempt)], step=1)
                assert await line.queue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE) in (
                    "ok",
                    "already",
                )
                done.append(job.key.id)

    breaking = asyncio.create_task(chaos())
    try:
        async with asyncio.timeout(40):
            workers = [asyncio.create_task(work(f"w{index}")) for index in range(2)]
            for index in range(20):
                assert (await line.queue.submit(new_job(f"j{index}"))).outcome == "ok"
            await asyncio.gather(*workers)
    finally:
        breaking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await breaking
        line.proxy.left = 0
    assert sorted(done) == sorted(f"j{index}" for index in range(20))
    for index in range(20):
        assert await events_of(line.queue, f"j{index}") == ["started", "step", "completed"]
    assert await line.queue.load(MODEL) == (0, 0, 0, 0, 0, 0)
