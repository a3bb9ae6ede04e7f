"""The latest preview of each sample, for readers who come or come back while the job runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from protocol.events import Preview
from protocol.jobqueue import ClaimedJob, EventHub, JobKey, JobQueue
from protocol.states import JobStatus
from tests.jobqueue.conftest import MakeQueue
from tests.jobqueue.support import DONE, P, claim, crash_worker, new_job, step_event

KEY = JobKey("anna", "a")
SHOWN = f"{P}shown:{KEY}"


def picture(step: int, sample: int = 0, attempt: int = 1, size: int = 4) -> Preview:
    return Preview(sample=sample, attempt=attempt, step=step, b64_png="x" * size)


async def start(queue: JobQueue) -> ClaimedJob:
    await queue.submit(new_job("a"))
    [job] = (await claim(queue)).jobs
    return job


async def tell(queue: JobQueue, job: ClaimedJob, *events: Preview | int) -> None:
    """Publish previews, and steps by their index, in one call."""
    told = [step_event(event, job.attempt) if isinstance(event, int) else event for event in events]
    assert await queue.publish(job.key, job.token, told) == "ok"


async def read(hub: EventHub, count: int, after: int = 0) -> list[tuple[int, str, int]]:
    """(number, type, step) of the next `count` events."""
    got: list[tuple[int, str, int]] = []
    async with aclosing(hub.stream(KEY, after)) as stream:
        async for seq, event in stream:
            step = event.step if isinstance(event, Preview) else getattr(event, "index", -1)
            got.append((seq, event.type, step))
            if len(got) == count:
                break
    return got


@pytest_asyncio.fixture
async def hub(queue: JobQueue) -> AsyncIterator[EventHub]:
    hub = EventHub(queue, refill_s=60.0)
    await hub.start()
    yield hub
    await hub.stop()


async def test_who_comes_back_sees_the_latest_of_each_sample(queue: JobQueue, hub: EventHub) -> None:
    """After the numbered events, in the order of samples, and without a number of their own."""
    job = await start(queue)
    await tell(queue, job, 0, picture(0, sample=1), picture(0), 1, picture(1), 2)
    previews = [(0, "preview", 1), (0, "preview", 0)]
    steps = [(number, "step", number - 2) for number in (2, 3, 4)]
    assert await read(hub, 6) == [(1, "started", -1), *steps, *previews]
    assert await read(hub, 4, after=2) == [*steps[1:], *previews]
    assert await read(hub, 2, after=4) == previews


async def test_a_preview_is_told_once_and_never_after_a_later_one(queue: JobQueue, hub: EventHub) -> None:
    job = await start(queue)
    await tell(queue, job, picture(3))
    stream = hub.stream(KEY)
    assert [(await anext(stream)).event.type for _ in range(2)] == ["started", "preview"]
    await tell(queue, job, picture(3), picture(2), picture(4), 0)
    assert [(await anext(stream)).event for _ in range(2)] == [picture(4), step_event(0)]
    await stream.aclose()


async def test_a_job_that_starts_over_is_shown_from_its_start(queue: JobQueue, hub: EventHub) -> None:
    """Handed back in a drain it runs again under the same attempt, with lower steps."""
    job = await start(queue)
    await tell(queue, job, picture(3))
    stream = hub.stream(KEY)
    assert [(await anext(stream)).event.type for _ in range(2)] == ["started", "preview"]
    await queue.release(job.key, job.token)
    assert not await queue.redis.exists(SHOWN)
    [again] = (await claim(queue)).jobs
    await tell(queue, again, picture(1, attempt=again.attempt))
    told = [(await anext(stream)).event for _ in range(3)]
    assert [event.type for event in told] == ["requeued", "started", "preview"]
    assert told[2] == picture(1)
    await stream.aclose()


@pytest.mark.parametrize("end", ["commit", "crash", "cancel"])
async def test_nothing_is_kept_of_a_job_that_does_not_run(queue: JobQueue, end: str) -> None:
    job = await start(queue)
    await tell(queue, job, picture(0))
    assert await queue.redis.hlen(SHOWN) == 1
    if end == "crash":
        await crash_worker(queue)
    elif end == "cancel":
        await queue.cancel(job.key)
        await queue.commit(job.key, job.token, JobStatus.CANCELLED, 0, DONE)
    else:
        await queue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE)
    assert not await queue.redis.exists(SHOWN)
    assert await queue.publish(job.key, job.token, [picture(1)]) == "lost"
    assert not await queue.redis.exists(SHOWN)


async def test_a_jobs_previews_share_a_limit(make_queue: MakeQueue) -> None:
    """Two of 400 bytes and their JSON fit into 1,000; a third, or a larger one, takes its sample's away."""
    queue = await make_queue(previews_bytes=1_000)
    job = await start(queue)
    await tell(queue, job, picture(0, 0, size=400), picture(0, 1, size=400), picture(0, 2, size=400))
    assert sorted(await queue.redis.hkeys(SHOWN)) == [b"0", b"1"]
    await tell(queue, job, picture(1, 1, size=600))
    assert await queue.redis.hkeys(SHOWN) == [b"0"]
    await tell(queue, job, picture(1, 2, size=400))
    assert sorted(await queue.redis.hkeys(SHOWN)) == [b"0", b"2"]
