"""Claims that leave room: a worker of two models, each with a limit of its own."""

from __future__ import annotations

import secrets

from protocol.jobqueue import JobQueue
from protocol.records import ModelRoom
from tests.jobqueue.support import MODEL, new_job


async def submit_both(queue: JobQueue, clips: int, pictures: int, **changes: int) -> None:
    """Clips first, so that they are due first."""
    for index in range(clips):
        await queue.submit(new_job(f"clip-{index}", model="wan-tiny", due_ms=1_000 + index, **changes))
    for index in range(pictures):
        await queue.submit(new_job(f"picture-{index}", due_ms=2_000 + index))


async def claim_both(queue: JobQueue, free: int, k: int, **limits: ModelRoom) -> tuple[list[str], int | None]:
    """Claim of a worker that serves both; `clip` and `picture` name their models' limits."""
    given = {{"clip": "wan-tiny", "picture": MODEL}[name]: room for name, room in limits.items()}
    token = secrets.token_hex(16)
    found = await queue.claim("w1", token, ["wan-tiny", MODEL], free, k, limits=given)
    return [job.key.id for job in found.jobs], found.wait_bytes


async def test_a_models_limit_leaves_places_to_the_other(queue: JobQueue) -> None:
    """40 clips are due before the picture; two may come, and the picture comes with them."""
    await submit_both(queue, clips=40, pictures=1)
    ids, _ = await claim_both(queue, 1000, 4, clip=ModelRoom(2))
    assert ids == ["clip-0", "clip-1", "picture-0"]
    await queue.submit(new_job("picture-1", due_ms=9_000))
    ids, _ = await claim_both(queue, 1000, 4, clip=ModelRoom(0))
    assert ids == ["picture-1"]


async def test_memory_kept_for_the_other_is_not_taken(queue: JobQueue) -> None:
    """A worker that is idle takes one clip of 60 of its 100 bytes, then no second one of 30: 20 are kept."""
    await submit_both(queue, clips=1, pictures=0, mem_bytes=60)
    ids, _ = await claim_both(queue, 100, 1, clip=ModelRoom(9, 50))
    assert ids == ["clip-0"]
    await queue.submit(new_job("second", model="wan-tiny", due_ms=1_500, mem_bytes=30))
    await submit_both(queue, clips=0, pictures=2)
    ids, _ = await claim_both(queue, 40, 4, clip=ModelRoom(9, 20))
    assert ids == ["picture-0", "picture-1"]


async def test_a_job_waited_for_counts_what_is_kept(queue: JobQueue) -> None:
    """Passed over often enough, a clip of 30 waits until 30 and the 20 kept are free."""
    await queue.submit(new_job("first", due_ms=1))
    assert (await claim_both(queue, 100, 1))[0] == ["first"]
    await queue.submit(new_job("clip", model="wan-tiny", due_ms=1_000, mem_bytes=30))
    wait = None
    for index in range(20):
        await queue.submit(new_job(f"picture-{index}", due_ms=2_000))
        _, wait = await claim_both(queue, 40, 1, clip=ModelRoom(9, 20))
        if wait is not None:
            break
    assert wait == 50
    assert (await claim_both(queue, 50, 1, clip=ModelRoom(9, 20)))[0] == ["clip"]
