"""What happens under a lease, and when it is lost."""

from __future__ import annotations

import asyncio

import pytest

from protocol.events import Preview, Started
from protocol.jobqueue import ClaimedJob, JobKey, JobQueue, JobResult
from protocol.states import JobStatus
from tests.jobqueue.conftest import MakeQueue
from tests.jobqueue.support import (
    DONE,
    MODEL,
    P,
    claim,
    claim_ids,
    crash_worker,
    dump,
    end_backoffs,
    events_of,
    expire_leases,
    new_job,
    step_event,
)


async def running(queue: JobQueue, job_id: str = "a", worker: str = "w1") -> ClaimedJob:
    await queue.submit(new_job(job_id))
    [job] = (await claim(queue, worker)).jobs
    return job


async def status(queue: JobQueue, job_id: str = "a") -> tuple[JobStatus, int]:
    record = await queue.get(JobKey("anna", job_id))
    assert record is not None
    return record.status, record.attempts


async def test_a_commit_ends_the_job_once(queue: JobQueue) -> None:
    job = await running(queue)
    assert await queue.commit(job.key, job.token, JobStatus.COMPLETED, 55, DONE) == "ok"
    before = await dump(queue)
    assert await queue.commit(job.key, job.token, JobStatus.COMPLETED, 55, DONE) == "already"
    assert await queue.commit(job.key, "another", JobStatus.COMPLETED, 55, DONE) == "lost"
    assert await queue.release(job.key, job.token) == "lost"
    assert await queue.cancel(job.key) == "ended"
    assert await queue.renew("w1", [(job.key, job.token)]) == ["lost"]
    assert await dump(queue) == before
    record = await queue.get(job.key)
    assert record is not None
    assert (record.status, record.totals, record.error) == (JobStatus.COMPLETED, DONE.totals, None)
    assert record.completed_ms is not None
    assert await events_of(queue, "a") == ["started", "completed"]
    assert await queue.load(MODEL) == (0, 0, 0, 0, 0, 0)
    assert await queue.redis.ttl(f"{P}job:anna/a") == pytest.approx(86_400, abs=5)
    assert await queue.redis.ttl(f"{P}ev:anna/a") == pytest.approx(900, abs=5)


async def test_outcome_and_result_must_go_together(queue: JobQueue) -> None:
    job = await running(queue)
    for outcome in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.RUNNING):
        with pytest.raises(ValueError, match="does not go with"):
            await queue.commit(job.key, job.token, outcome, 0, JobResult())


async def test_steps_are_logged_and_previews_are_not(queue: JobQueue) -> None:
    job = await running(queue)
    preview = Preview(sample=0, attempt=1, step=2, b64_png="aGk=")
    assert await queue.publish(job.key, job.token, [step_event(0), preview, step_event(1)], step=2) == "ok"
    assert await events_of(queue, "a") == ["started", "step", "step"]
    record = await queue.get(job.key)
    assert record is not None
    assert (record.step, record.seq) == (2, 3)
    assert await queue.publish(job.key, "another", [step_event(9)], step=9) == "lost"
    with pytest.raises(ValueError, match="written by the queue"):
        await queue.publish(job.key, job.token, [Started(attempt=1)])


async def test_many_jobs_publish_in_one_call(queue: JobQueue) -> None:
    jobs = [await running(queue, name) for name in "abc"]
    await queue.release(jobs[1].key, jobs[1].token)
    calls = [(job.key, job.token, [step_event(0)], 1) for job in jobs]
    assert await queue.publish_many(calls) == ["ok", "lost", "ok"]
    await queue.redis.script_flush()
    assert await queue.publish_many(calls[2:]) == [
        "ok"
    ]  # said already: known again, also by a server that restarted
    assert await events_of(queue, "c") == ["started", "step"]
    assert await queue.publish_many([]) == []
    with pytest.raises(ValueError, match="twice"):
        await queue.publish_many([calls[0], calls[0]])


async def test_a_renewed_lease_is_not_reaped(make_queue: MakeQueue) -> None:
    queue = await make_queue(lease_ttl_ms=200)
    job = await running(queue)
    for _ in range(6):
        await asyncio.sleep(0.06)
        assert await queue.renew("w1", [(job.key, job.token), (job.key, "x"), (JobKey("no", "no"), "x")]) == [
            *("ok", "lost", "lost")
        ]
        assert await queue.reap() == 0
    await asyncio.sleep(0.25)
    assert await queue.reap() == 1
    assert await queue.renew("w1", [(job.key, job.token)]) == ["lost"]
    assert await status(queue) == (JobStatus.QUEUED, 1)


async def test_whoever_lost_the_lease_changes_nothing(queue: JobQueue) -> None:
    stale = await running(queue)
    await expire_leases(queue)
    await queue.reap()
    await end_backoffs(queue)
    [fresh] = (await claim(queue, "w2")).jobs
    assert fresh.attempt == 2
    before = await dump(queue)
    assert await queue.publish(stale.key, stale.token, [step_event(0)], step=1) == "lost"
    assert await queue.save(stale.key, stale.token, b"x", 1) == "lost"
    assert await queue.release(stale.key, stale.token) == "lost"
    assert await queue.renew("w1", [(stale.key, stale.token)]) == ["lost"]
    assert await queue.commit(stale.key, stale.token, JobStatus.COMPLETED, 0, DONE) == "lost"
    assert await queue.abandon("w1") == 0
    assert await dump(queue) == before
    assert await queue.commit(fresh.key, fresh.token, JobStatus.COMPLETED, 0, DONE) == "ok"
    assert await events_of(queue, "a") == ["started", "requeued", "started", "completed"]


async def test_a_job_handed_back_has_its_place_and_its_attempts(queue: JobQueue) -> None:
    job = await running(queue, "a")
    await queue.submit(new_job("b", due_ms=job.due_ms + 1))
    assert await queue.release(job.key, job.token, "drain") == "ok"
    assert await queue.release(job.key, job.token, "drain") == "ok"
    assert await status(queue) == (JobStatus.QUEUED, 0)
    [again] = (await claim(queue, "w2")).jobs
    assert (again.key.id, again.attempt, again.solo) == ("a", 1, False)
    assert await events_of(queue, "a") == ["started", "requeued", "started"]
    for _ in range(5):  # however often
        await queue.release(again.key, again.token, "preempt")
        [again] = (await claim(queue, "w2")).jobs
    assert (again.attempt, again.solo) == (1, False)


async def test_a_checkpoint_comes_with_the_next_claim(queue: JobQueue) -> None:
    job = await running(queue)
    assert await queue.save(job.key, job.token, b"\x00\xff state", 3) == "ok"
    await queue.release(job.key, job.token)
    [again] = (await claim(queue)).jobs
    assert again.checkpoint == b"\x00\xff state"


async def test_an_abandoned_job_comes_back_after_a_pause(make_queue: MakeQueue) -> None:
    queue = await make_queue(backoff_ms=100)
    await running(queue)
    assert await queue.abandon("w1") == 1
    assert await queue.abandon("w1") == 0
    assert await status(queue) == (JobStatus.QUEUED, 1)
    assert await claim_ids(queue) == []
    assert (await queue.load(MODEL)).queued_jobs == 1
    await asyncio.sleep(0.12)
    assert await queue.reap() == 0
    assert await queue.wait_bell([MODEL], 1) is True
    [again] = (await claim(queue)).jobs
    assert again.attempt == 2
    assert await events_of(queue, "a") == ["started", "requeued", "started"]


async def test_pauses_double_up_to_a_limit(make_queue: MakeQueue) -> None:
    queue = await make_queue(backoff_ms=1_000, max_backoff_ms=3_000, max_solo_crashes=9)
    await queue.submit(new_job("a"))
    pauses = []
    for _ in range(4):
        await claim(queue)
        await queue.abandon("w1")
        seconds, micros = await queue.redis.time()
        not_before = await queue.redis.zscore(f"{P}later", "anna/a")
        pauses.append(round((not_before - seconds * 1000 - micros / 1000) / 1000))
        await end_backoffs(queue)
    assert pauses == [1, 2, 3, 3]


async def test_a_job_that_keeps_crashing_alone_is_failed(queue: JobQueue) -> None:
    await queue.submit(new_job("bad"))
    for attempt in range(1, 5):
        [job] = (await claim(queue)).jobs
        assert (job.attempt, job.solo) == (attempt, attempt > 2)
        await crash_worker(queue)
    record = await queue.get(JobKey("anna", "bad"))
    assert record is not None
    assert (record.status, record.attempts) == (JobStatus.FAILED, 4)
    assert record.error is not None
    assert record.error.code == "attempts_exhausted"
    assert await events_of(queue, "bad") == [*["started", "requeued"] * 3, "started", "failed"]
    assert await queue.load(MODEL) == (0, 0, 0, 0, 0, 1)
    assert await claim_ids(queue) == []


async def test_handing_back_a_job_that_ran_alone_is_no_crash(queue: JobQueue) -> None:
    await queue.submit(new_job("bad"))
    for _ in range(2):
        await claim(queue)
        await crash_worker(queue)
    for _ in range(5):
        [job] = (await claim(queue)).jobs
        assert (job.solo, job.attempt) == (True, 3)
        await queue.release(job.key, job.token)
    assert await status(queue, "bad") == (JobStatus.QUEUED, 2)


async def test_a_running_job_is_flagged_and_its_worker_told(queue: JobQueue) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def watch() -> None:
        async for name in queue.watch_worker("w1"):
            told.put_nowait(name)

    watcher = asyncio.create_task(watch())
    while not (await queue.redis.pubsub_numsub("rh:w:w1"))[0][1]:
        await asyncio.sleep(0.005)
    job = await running(queue)
    assert await queue.cancel(job.key) == "cancelling"
    assert await asyncio.wait_for(told.get(), 5) == "anna/a"
    await queue.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    while told.empty():  # it subscribes again by itself; a repeated cancel tells again
        await queue.cancel(job.key)
        await asyncio.sleep(0.02)
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    record = await queue.get(job.key)
    assert record is not None
    assert (record.status, record.cancel_requested) == (JobStatus.RUNNING, True)
    assert await queue.cancel(job.key) == "cancelling"
    assert await queue.renew("w1", [(job.key, job.token)]) == ["cancel"]
    assert await queue.commit(job.key, job.token, JobStatus.CANCELLED, 5, DONE) == "ok"
    assert await queue.cancel(job.key) == "already_cancelled"
    assert await events_of(queue, "a") == ["started", "cancelling", "cancelled"]


@pytest.mark.parametrize("way", ["crash", "expiry", "release"])
async def test_a_flagged_job_whose_worker_goes_ends_cancelled(queue: JobQueue, way: str) -> None:
    job = await running(queue)
    await queue.cancel(job.key)
    if way == "crash":
        await queue.abandon("w1")
    elif way == "expiry":
        await expire_leases(queue)
        await queue.reap()
    else:
        assert await queue.release(job.key, job.token) == "ok"
        assert await queue.release(job.key, job.token) == "ok"
    assert await status(queue) == (JobStatus.CANCELLED, 1)
    assert await events_of(queue, "a") == ["started", "cancelling", "cancelled"]


async def test_reap_takes_at_most_what_it_is_told(queue: JobQueue) -> None:
    for name in "abcde":
        await running(queue, name)
    await expire_leases(queue)
    assert [await queue.reap(2) for _ in range(4)] == [2, 2, 1, 0]


async def test_expired_jobs_leave_their_tenants_list(make_queue: MakeQueue) -> None:
    queue = await make_queue(ended_ttl_s=1)
    job = await running(queue)
    await queue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE)
    assert [record.key.id for record in (await queue.list("anna")).records] == ["a"]
    async with asyncio.timeout(5):
        while await queue.get(job.key):
            await asyncio.sleep(0.05)
    assert (await queue.list("anna")).records == ()
    await asyncio.sleep(0.01)
    await queue.reap()
    assert await queue.redis.keys(f"{P}mine:*") == []
    assert await queue.redis.keys(f"{P}ended") == []
