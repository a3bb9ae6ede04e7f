from __future__ import annotations

import asyncio
import logging

import pytest

from protocol import keys
from protocol.jobqueue import Catalog, JobQueue
from protocol.states import WorkerState
from tests.protocol.entries import flux_entry

ENTRY = flux_entry()


async def test_an_entry_comes_back_with_its_measured_speed(jobqueue: JobQueue) -> None:
    catalog = Catalog(jobqueue)
    assert await catalog.get(ENTRY.name) is None
    assert await catalog.all() == []
    await catalog.put(ENTRY)
    assert await catalog.get(ENTRY.name) == ENTRY
    await catalog.set_speed(ENTRY.name, 0.25)
    await catalog.put(ENTRY)  # a restarted worker knows no speed yet and does not undo it
    fast = ENTRY.model_copy(update={"tflops_per_second": 0.25})
    assert await catalog.get(ENTRY.name) == fast
    other = ENTRY.model_copy(update={"name": "another", "tflops_per_second": 2.0})
    await catalog.put(other)
    assert await catalog.all() == [other, fast]
    assert await jobqueue.redis.ttl(keys.MODELS) == -1


async def test_an_entry_of_another_version_is_left_out(
    jobqueue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = Catalog(jobqueue)
    await catalog.put(ENTRY)
    await jobqueue.redis.hset(keys.MODELS, "strange", '{"name": "strange"}')
    with caplog.at_level(logging.WARNING):
        assert await catalog.all() == [ENTRY]
        assert await catalog.get("strange") is None
    assert "strange" in caplog.text


async def test_workers_are_there_while_they_say_so(jobqueue: JobQueue) -> None:
    catalog = Catalog(jobqueue, presence_ttl_s=1)
    await catalog.heartbeat("w1", WorkerState.WARMING, ["flux-tiny"])
    await catalog.heartbeat("w2", WorkerState.READY, ["flux-tiny", "wan-tiny"])
    await catalog.heartbeat("w1", WorkerState.READY, ["flux-tiny"])
    assert [(worker.worker, worker.state, worker.models) for worker in await catalog.workers()] == [
        ("w1", WorkerState.READY, ("flux-tiny",)),
        ("w2", WorkerState.READY, ("flux-tiny", "wan-tiny")),
    ]
    await catalog.leave("w1")
    assert [worker.worker for worker in await catalog.workers()] == ["w2"]
    async with asyncio.timeout(5):
        while await catalog.workers():
            await asyncio.sleep(0.05)
    assert await jobqueue.redis.exists(keys.WORKERS) == 0


async def test_secret_and_nonce_are_drawn_once(jobqueue: JobQueue) -> None:
    catalogs = [Catalog(jobqueue) for _ in range(5)]
    [secret] = set(await asyncio.gather(*(catalog.secret() for catalog in catalogs)))
    assert len(secret) == 32
    assert await catalogs[0].nonce("from-the-store") == "from-the-store"
    assert await catalogs[1].nonce("from-another-store") == "from-the-store"
    assert await catalogs[2].nonce() == "from-the-store"
