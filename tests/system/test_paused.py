"""A worker that was stopped for two lease times finds its jobs taken, and touches nothing that is
another's now."""

from __future__ import annotations

import asyncio
import time

import pytest

from protocol.jobqueue import Claim, JobQueue
from protocol.states import JobStatus
from server.valkey import EmbeddedValkey
from tests.system.harness import LEASE_TTL_S, LONG, MODEL, QUEUE, Desk, WorkerProgram, until

PATIENT = QUEUE.model_copy(update={"lease_ttl_ms": 60_000})
LARGE = 1 << 40


async def snapshot(desk: Desk) -> dict[bytes, bytes]:
    """Every key of the jobs, byte by byte.

    Left out is `room:<worker>`, which an idle worker's own next claim writes and which is about that worker
    alone.
    """
    found = [key async for key in desk.queue.redis.scan_iter(match="rh:{0}:*") if b":room:" not in key]
    return {key: await desk.queue.redis.dump(key) for key in sorted(found)}


async def take_over(other: JobQueue) -> Claim:
    """Claim, as a second worker, the job whose lease ran out."""

    async def look() -> Claim | None:
        claim = await other.claim("other", "token-of-other", [MODEL], LARGE, 8)
        return claim if claim.jobs else None

    return await until(look, "job to take over", timeout_s=3 * LEASE_TTL_S)


@pytest.mark.timeout(120)
async def test_a_worker_that_was_paused_loses_its_lease(
    standing_worker: WorkerProgram, standing_desk: Desk, standing_valkey: EmbeddedValkey
) -> None:
    await standing_worker.ready(standing_desk.catalog)
    other = await JobQueue.connect(standing_valkey.url, PATIENT)
    key = await standing_desk.submit("paused", steps=6 * LONG)
    await standing_desk.running(key)
    family = standing_worker.family()
    with standing_worker.paused():
        stopped = time.monotonic()
        claim = await take_over(other)
        assert [job.key for job in claim.jobs] == [key]
        await asyncio.sleep(max(0.0, stopped + 2 * LEASE_TTL_S - time.monotonic()))
        before = await snapshot(standing_desk)
    await standing_worker.says("the job is lost", key.id)
    assert await snapshot(standing_desk) == before
    assert (await standing_desk.record(key)).worker == "other"
    await other.release(key, "token-of-other")
    record = await standing_desk.assert_ended_once(key)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 2)
    assert [process.pid for process in standing_worker.family()] == [process.pid for process in family]
    await other.close()
