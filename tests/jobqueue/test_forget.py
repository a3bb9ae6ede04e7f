"""An ended job can be removed; one that lives cannot."""

from __future__ import annotations

from protocol.jobqueue import JobKey, JobQueue
from protocol.states import JobStatus
from tests.jobqueue.support import DONE, P, check_books, claim, new_job


async def test_only_an_ended_job_is_forgotten(queue: JobQueue) -> None:
    job = new_job("a", idempotency=("v1.videos", "1" * 64))
    await queue.submit(job)
    assert await queue.forget(job.key) == "live"
    [claimed] = (await claim(queue)).jobs
    assert await queue.forget(job.key) == "live"
    await queue.commit(job.key, claimed.token, JobStatus.COMPLETED, 0, DONE)
    await check_books(queue)
    assert await queue.forget(job.key) == "ok"
    assert await queue.get(job.key) is None
    assert (await queue.list("anna")).records == ()
    assert await queue.forget(job.key) == "missing"
    await check_books(queue)


async def test_nothing_of_a_forgotten_job_stays_but_its_idempotency_key(queue: JobQueue) -> None:
    """A request that is sent again after the job was removed must not run again."""
    idempotency = ("v1.videos", "1" * 64)
    await queue.submit(new_job("a", idempotency=idempotency))
    await queue.submit(new_job("b"))
    await queue.cancel(JobKey("anna", "a"))
    await queue.forget(JobKey("anna", "a"))
    names = {key.decode().removeprefix(P) for key in await queue.redis.keys(f"{P}*")}
    assert [name for name in names if "anna/a" in name] == []
    assert (await queue.submit(new_job("c", idempotency=idempotency))).key == JobKey("anna", "a")
    assert [record.key.id for record in (await queue.list("anna")).records] == ["b"]


async def test_pages_in_both_directions(queue: JobQueue) -> None:
    for name in "abc":
        await queue.submit(new_job(name))
    newest = await queue.list("anna", limit=3)
    names = [record.key.id for record in newest.records]
    oldest = await queue.list("anna", limit=2, oldest_first=True)
    assert [record.key.id for record in oldest.records] == names[:0:-1]
    assert oldest.has_more
    rest = await queue.list("anna", after=names[1], limit=2, oldest_first=True)
    assert ([record.key.id for record in rest.records], rest.has_more) == ([names[0]], False)
