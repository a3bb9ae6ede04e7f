"""Step events: in order, in few calls, and the word that a lease is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio

from protocol.events import Step
from protocol.receipts import Action
from tests.system.harness import MODEL, Desk
from workers.patience import end
from workers.publisher import Publisher
from workers.roster import HeldJob


@pytest_asyncio.fixture
async def desk(valkey_url: str, load_flux: Callable[[str, str], Any]) -> AsyncIterator[Desk]:
    desk = await Desk.open(valkey_url)
    await desk.catalog.put(load_flux("plain", "float32").catalog)
    yield desk
    await desk.close()


def step(index: int) -> Step:
    return Step(
        sample=0, attempt=1, index=index, action=Action.FULL, blocks_run=3, tflops=0.5, spent=0.5 * index
    )


async def claimed(desk: Desk, jobs: int) -> list[HeldJob]:
    for index in range(jobs):
        await desk.submit(f"job-{index}", seed=index)
    claim = await desk.queue.claim("worker", "token", [MODEL], 1 << 40, jobs)
    return [HeldJob(job) for job in claim.jobs]


async def test_events_arrive_in_order_whatever_the_timing(desk: Desk) -> None:
    lost: list[HeldJob] = []
    publisher = Publisher(desk.queue, 0.01, lost.append)
    running = asyncio.create_task(publisher.run())
    jobs = await claimed(desk, 3)
    for index in range(30):
        for job in jobs:
            job.steps_done += 1
            publisher.add(job, step(index))
        await asyncio.sleep(0.002 * (index % 3))
    await publisher.flush()
    for job in jobs:
        events = [event for event in await desk.events(job.claimed.key) if isinstance(event, Step)]
        assert [event.index for event in events] == list(range(30))
        assert (await desk.record(job.claimed.key)).step == 30
    assert lost == []
    await end([running])


async def test_a_lost_lease_is_told_of_and_writes_nothing(desk: Desk) -> None:
    lost: list[HeldJob] = []
    publisher = Publisher(desk.queue, 0.01, lost.append)
    mine, taken = await claimed(desk, 2)
    await desk.queue.release(taken.claimed.key, taken.claimed.token)
    for job in (mine, taken):
        publisher.add(job, step(0))
    await publisher.flush()
    assert lost == [taken]
    assert not any(isinstance(event, Step) for event in await desk.events(taken.claimed.key))
    assert any(isinstance(event, Step) for event in await desk.events(mine.claimed.key))


async def test_a_newer_lease_of_the_same_job_speaks_for_it(desk: Desk) -> None:
    publisher = Publisher(desk.queue, 0.01, lambda job: None)
    (old,) = await claimed(desk, 1)
    publisher.add(old, step(0))
    new = HeldJob(old.claimed)
    publisher.add(new, step(1))
    await publisher.flush()
    steps = [event for event in await desk.events(old.claimed.key) if isinstance(event, Step)]
    assert [one.index for one in steps] == [1]
