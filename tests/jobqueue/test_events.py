from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from protocol.errors import NotFound
from protocol.events import Preview
from protocol.jobqueue import ClaimedJob, EventHub, JobKey, JobQueue, StreamedEvent
from protocol.states import JobStatus
from tests.jobqueue.support import DONE, P, claim, new_job, step_event

KEY = JobKey("anna", "a")
MakeHub = Callable[..., Awaitable[EventHub]]


@pytest_asyncio.fixture
async def make_hub(queue: JobQueue) -> AsyncIterator[MakeHub]:
    made: list[EventHub] = []

    async def make(**options: Any) -> EventHub:
        # Nothing here may need the look into the stream that comes after a long silence.
        made.append(EventHub(queue, **{"refill_s": 60.0, **options}))
        await made[-1].start()
        return made[-1]

    yield make
    for hub in made:
        await hub.stop()


async def start(queue: JobQueue) -> ClaimedJob:
    await queue.submit(new_job("a"))
    [job] = (await claim(queue)).jobs
    return job


async def finish(queue: JobQueue, job: ClaimedJob) -> None:
    assert await queue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE) == "ok"


async def collect(hub: EventHub, after: int = 0, pause_s: float = 0) -> list[StreamedEvent]:
    got = []
    async with asyncio.timeout(20):
        async for streamed in hub.stream(KEY, after):
            got.append(streamed)
            await asyncio.sleep(pause_s)
    return got


async def followed(queue: JobQueue) -> None:
    """Return when somebody is subscribed to the job."""
    while not (await queue.redis.pubsub_numsub(f"{P}ev:{KEY}"))[0][1]:
        await asyncio.sleep(0.005)


def numbers(events: list[StreamedEvent]) -> list[int]:
    return [streamed.seq for streamed in events]


async def test_a_follower_hears_everything_from_queued_to_the_end(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub()
    await queue.submit(new_job("a"))
    following = asyncio.create_task(collect(hub))
    await followed(queue)
    [job] = (await claim(queue)).jobs
    for index in range(4):
        await queue.publish(job.key, job.token, [step_event(index)], step=index + 1)
    await finish(queue, job)
    got = await following
    assert [streamed.event.type for streamed in got] == ["started", *["step"] * 4, "completed"]
    assert numbers(got) == [1, 2, 3, 4, 5, 6]


async def test_replay_starts_after_the_number_given(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub()
    job = await start(queue)
    await queue.publish(job.key, job.token, [step_event(0), step_event(1)])
    await finish(queue, job)
    assert numbers(await collect(hub)) == [1, 2, 3, 4]
    assert numbers(await collect(hub, after=2)) == [3, 4]
    assert await collect(hub, after=4) == []
    assert await collect(hub, after=99) == []


async def test_an_unknown_job_is_not_found(make_hub: MakeHub) -> None:
    hub = await make_hub()
    with pytest.raises(NotFound):
        await collect(hub)


async def test_an_expired_stream_still_tells_the_end(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub()
    job = await start(queue)
    await finish(queue, job)
    await queue.redis.delete(f"{P}ev:{KEY}")
    [end] = await collect(hub)
    assert (end.seq, end.event.type) == (2, "completed")
    assert await collect(hub, after=2) == []
    await queue.redis.flushall()  # the books would miss the stream


async def test_many_followers_share_one_subscription(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub()
    job = await start(queue)
    following = [asyncio.create_task(collect(hub)) for _ in range(30)]
    await followed(queue)
    assert (await queue.redis.pubsub_numsub(f"{P}ev:{KEY}"))[0][1] == 1
    await queue.publish(job.key, job.token, [step_event(0)])
    await finish(queue, job)
    assert [numbers(await task) for task in following] == [[1, 2, 3]] * 30
    while (await queue.redis.pubsub_numsub(f"{P}ev:{KEY}"))[0][1]:  # and nobody is left on the channel
        await asyncio.sleep(0.005)


async def test_previews_come_live_and_are_not_replayed(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub()
    job = await start(queue)
    seen = asyncio.Event()
    got: list[StreamedEvent] = []

    async def follow() -> None:
        async for streamed in hub.stream(KEY):
            got.append(streamed)
            seen.set()

    following = asyncio.create_task(follow())
    await followed(queue)
    await asyncio.wait_for(seen.wait(), 5)
    preview = Preview(sample=0, attempt=1, step=1, b64_png="aGk=")
    while not any(
        streamed.event == preview for streamed in got
    ):  # the subscription stands, so one soon arrives
        await queue.publish(job.key, job.token, [preview], step=len(got))
        await asyncio.sleep(0.01)
    await finish(queue, job)
    await asyncio.wait_for(following, 5)
    assert {streamed.seq for streamed in got if streamed.event == preview} == {0}
    assert numbers(await collect(hub)) == [1, 2]


async def test_a_slow_follower_misses_nothing(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub(backlog=2)
    job = await start(queue)
    following = asyncio.create_task(collect(hub, pause_s=0.01))
    await followed(queue)
    for index in range(60):
        await queue.publish(job.key, job.token, [step_event(index)])
    await finish(queue, job)
    assert numbers(await following) == list(range(1, 63))


async def test_a_lost_message_is_fetched_from_the_stream(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub()
    job = await start(queue)
    following = asyncio.create_task(collect(hub))
    await followed(queue)
    # What pub/sub may do: an event that stands in the stream and was heard by nobody.
    seq = await queue.redis.hincrby(f"{P}job:{KEY}", "seq", 1)
    entry = (await queue.redis.xrange(f"{P}ev:{KEY}", count=1))[0][1]
    await queue.redis.xadd(f"{P}ev:{KEY}", entry, id=f"{seq}-0")
    await queue.publish(job.key, job.token, [step_event(0)])
    await finish(queue, job)
    assert numbers(await following) == [1, 2, 3, 4]


async def test_a_cut_subscription_is_mended(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub()
    job = await start(queue)
    following = asyncio.create_task(collect(hub))
    for index in range(20):
        await followed(queue)
        if index % 5 == 4:
            await queue.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await queue.publish(job.key, job.token, [step_event(index)])
    await queue.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await finish(queue, job)  # said while nobody listens
    assert numbers(await following) == list(range(1, 23))


async def test_a_silent_follower_looks_into_the_stream(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub(refill_s=0.1)
    job = await start(queue)
    following = asyncio.create_task(collect(hub))
    await followed(queue)
    await hub.stop()  # as if the subscription were dead and did not know it
    await finish(queue, job)
    assert numbers(await following) == [1, 2]


async def test_a_follower_that_leaves_is_forgotten(queue: JobQueue, make_hub: MakeHub) -> None:
    hub = await make_hub()
    await start(queue)
    for _ in range(3):
        task = asyncio.create_task(collect(hub))
        await followed(queue)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while (await queue.redis.pubsub_numsub(f"{P}ev:{KEY}"))[0][1]:
            await asyncio.sleep(0.005)
