"""Claiming beside the turns, against a real queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio

from protocol.cost.memory import sample_bytes
from protocol.jobqueue import ClaimedJob
from protocol.jobs import GenerationRequest
from protocol.records import ModelRoom
from protocol.resolve import resolve
from tests.system.harness import MODEL, Desk
from workers.claimer import Claimer, Room
from workers.patience import end

LARGE = 1 << 40


class Hands:
    """A runtime's part: takes what is delivered, says what fits."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.held: list[ClaimedJob] = []
        self.arrived = asyncio.Event()

    def take(self, jobs: tuple[ClaimedJob, ...]) -> None:
        self.held += jobs
        self.room = self.room._replace(jobs=self.room.jobs - len(jobs), idle=False)
        self.arrived.set()

    async def holds(self, jobs: int) -> None:
        async with asyncio.timeout(5):
            while len(self.held) < jobs:
                self.arrived.clear()
                await self.arrived.wait()


@pytest_asyncio.fixture
async def desk(valkey_url: str, load_flux: Callable[[str, str], Any]) -> AsyncIterator[Desk]:
    desk = await Desk.open(valkey_url)
    await desk.catalog.put(load_flux("plain", "float32").catalog)
    yield desk
    await desk.close()


def claimer(desk: Desk, hands: Hands) -> Claimer:
    return Claimer(desk.queue, "worker", [MODEL], lambda: hands.room, hands.take)


async def test_a_waiting_worker_gets_a_job_at_once(desk: Desk) -> None:
    """The bell has a time-out of 2 s; a job that waited for it would come much later."""
    hands = Hands(Room(4, LARGE, idle=True))
    running = asyncio.create_task(claimer(desk, hands).run())
    await asyncio.sleep(0.2)
    submitted = time.monotonic()
    await desk.submit("job")
    await hands.holds(1)
    assert time.monotonic() - submitted < 0.5
    await end([running])


async def test_never_more_than_there_is_room_for(desk: Desk) -> None:
    for index in range(5):
        await desk.submit(f"job-{index}")
    hands = Hands(Room(2, LARGE, idle=True))
    eager = claimer(desk, hands)
    running = asyncio.create_task(eager.run())
    await hands.holds(2)
    hands.room = hands.room._replace(jobs=1)
    eager.look_again()
    await hands.holds(3)
    assert len({job.key for job in hands.held}) == 3
    assert (await desk.queue.load(MODEL)).queued_jobs == 2
    await end([running])


async def test_stop_delivers_what_is_on_its_way_and_ends(desk: Desk) -> None:
    hands = Hands(Room(4, LARGE, idle=True))
    eager = claimer(desk, hands)
    running = asyncio.create_task(eager.run())
    await desk.submit("job")
    await hands.holds(1)
    eager.stop()
    await asyncio.wait_for(running, 1)
    await desk.submit("late")
    assert (await desk.queue.load(MODEL)).queued_jobs == 1


async def test_a_job_passed_over_too_often_is_waited_for(desk: Desk) -> None:
    """When a large job has been passed over 16 times, a busy worker claims nothing until it fits."""
    first = await desk.submit("first", seed=0)
    hands = Hands(Room(1, LARGE, idle=True))
    eager = claimer(desk, hands)
    running = asyncio.create_task(eager.run())
    await hands.holds(1)
    assert hands.held[0].key == first
    needed = await bytes_of(desk, n=8)
    large = await desk.submit("large", seed=1, n=8)
    for index in range(20):
        await desk.submit(f"small-{index}", seed=2 + index)
    hands.room = Room(20, needed - 1, idle=False)
    eager.look_again()
    await asyncio.sleep(0.5)
    assert large not in {job.key for job in hands.held}
    assert len(hands.held) < 21
    hands.room = Room(20, needed, idle=False)
    eager.look_again()
    async with asyncio.timeout(5):
        while large not in {job.key for job in hands.held}:
            await asyncio.sleep(0.01)
    await end([running])


async def test_room_for_another_model_is_noticed_while_it_listens(desk: Desk) -> None:
    """Nothing of this model may come; when its place is free it comes at once, not after the bell's 2 s."""
    hands = Hands(Room(4, LARGE, idle=True, models={MODEL: ModelRoom(0), "other": ModelRoom(4)}))
    eager = Claimer(desk.queue, "worker", [MODEL, "other"], lambda: hands.room, hands.take)
    running = asyncio.create_task(eager.run())
    await desk.submit("job")
    await asyncio.sleep(0.3)
    assert not hands.held
    hands.room = hands.room._replace(models={})
    opened = time.monotonic()
    eager.look_again()
    await hands.holds(1)
    assert time.monotonic() - opened < 0.5
    await end([running])


async def bytes_of(desk: Desk, n: int) -> int:
    """Memory of a job of `n` samples, as the desk submits it."""
    entry = await desk.entry()
    body = {"model": MODEL, "input": {"prompt": "a red apple", "seed": 0, "n": n}}
    return n * sample_bytes(entry, resolve(GenerationRequest.model_validate(body), entry))
