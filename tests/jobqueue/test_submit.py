from __future__ import annotations

import asyncio
import dataclasses

import pytest

from protocol.errors import BodyTooLarge, Unavailable
from protocol.jobqueue import JobKey, JobQueue
from protocol.jobs import GenerationInput, GenerationRequest
from protocol.states import JobStatus
from tests.jobqueue.conftest import MakeQueue
from tests.jobqueue.support import DONE, MODEL, P, check_books, claim, dump, events_of, new_job


async def test_a_submitted_job_can_be_looked_up(queue: JobQueue) -> None:
    job = new_job("a")
    assert await queue.submit(job) == ("ok", job.key)
    record = await queue.get(job.key)
    assert record is not None
    assert record.status is JobStatus.QUEUED
    assert record.request == job.request
    assert (record.full_mflop, record.granted_mflop, record.units) == (100, 50, 60)
    assert (record.attempts, record.step, record.num_steps, record.seq) == (0, 0, 4, 0)
    assert (record.started_ms, record.completed_ms, record.worker, record.error) == (None, None, None, None)
    assert record.due_ms == record.created_ms + queue.settings.default_due_ms
    assert await queue.redis.exists(f"{P}ev:anna/a") == 0  # a stream costs 4 kB; it begins with `started`


async def test_there_is_nothing_where_nothing_was_submitted(queue: JobQueue) -> None:
    assert await queue.get(JobKey("anna", "a")) is None
    assert await queue.cancel(JobKey("anna", "a")) == "missing"
    assert await queue.regrant(JobKey("anna", "a"), 1, 1) == "missing"


async def test_the_same_body_under_the_same_id_is_one_job(queue: JobQueue) -> None:
    job = new_job("a")
    await queue.submit(job)
    before = await dump(queue)
    assert await queue.submit(job) == ("replay", job.key)
    assert await queue.submit(dataclasses.replace(job, fingerprint="e" * 64)) == ("conflict", job.key)
    assert await dump(queue) == before


async def test_an_id_is_a_tenants_own(queue: JobQueue) -> None:
    assert (await queue.submit(new_job("a"))).outcome == "ok"
    assert (await queue.submit(new_job("a", tenant="bob", fingerprint="e" * 64))).outcome == "ok"


async def test_fifty_puts_of_one_id_at_two_gateways_make_one_job(make_queue: MakeQueue) -> None:
    gateways = [await make_queue(), await make_queue()]
    answers = await asyncio.gather(*(gateways[n % 2].submit(new_job("a")) for n in range(50)))
    assert sorted(answer.outcome for answer in answers) == ["ok"] + ["replay"] * 49
    assert (await gateways[0].load(MODEL)).queued_jobs == 1


async def test_an_idempotency_key_leads_to_the_older_job(queue: JobQueue) -> None:
    idempotency = ("/v1/generations", "1" * 64)
    first = new_job("a", idempotency=idempotency)
    assert await queue.submit(first) == ("ok", first.key)
    assert await queue.submit(new_job("b", idempotency=idempotency)) == ("replay", first.key)
    other_body = new_job("c", idempotency=idempotency, fingerprint="e" * 64)
    assert await queue.submit(other_body) == ("conflict", first.key)
    assert (await queue.submit(new_job("d", idempotency=("/v1/images", "1" * 64)))).outcome == "ok"
    assert (await queue.submit(new_job("e", tenant="bob", idempotency=idempotency))).outcome == "ok"
    assert (await queue.load(MODEL)).queued_jobs == 3


async def test_an_idempotency_key_lives_as_long_as_the_job_and_a_day(make_queue: MakeQueue) -> None:
    queue = await make_queue(ended_ttl_s=2 * 86_400)
    await queue.submit(new_job("a", idempotency=("/v1/generations", "1" * 64)))
    [idem] = await queue.redis.keys(f"{P}idem:*")
    assert await queue.redis.ttl(idem) == -1
    [job] = (await claim(queue)).jobs
    await queue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE)
    assert await queue.redis.ttl(idem) == pytest.approx(2 * 86_400, abs=5)
    assert (await queue.submit(new_job("b", idempotency=("/v1/generations", "1" * 64)))).key == job.key


async def test_a_full_queue_leaves_no_trace(make_queue: MakeQueue) -> None:
    queue = await make_queue(max_queued_jobs=2)
    for name in "ab":
        await queue.submit(new_job(name))
    before = await dump(queue)
    refused = new_job("c", idempotency=("/v1/generations", "1" * 64))
    assert (await queue.submit(refused)).outcome == "full"
    assert await dump(queue) == before
    assert (await queue.submit(new_job("a"))).outcome == "replay"  # what stands is not refused
    other = dataclasses.replace(refused, model="other")
    assert (await queue.submit(other)).outcome == "ok"  # another model has room of its own


async def test_room_comes_back_when_a_job_is_claimed(make_queue: MakeQueue) -> None:
    queue = await make_queue(max_queued_jobs=1)
    await queue.submit(new_job("a"))
    await claim(queue)
    assert (await queue.submit(new_job("b"))).outcome == "ok"


@pytest.mark.parametrize(
    ("tenant", "job_id", "model"),
    [
        ("a/b", "x", MODEL),
        ("a:b", "x", MODEL),
        ("anna", "x/y", MODEL),
        ("anna", "", MODEL),
        ("anna", "x", "a{b}:c"),
    ],
)
async def test_names_that_cannot_stand_in_a_key_are_refused(
    queue: JobQueue, tenant: str, job_id: str, model: str
) -> None:
    with pytest.raises(ValueError, match="cannot stand in a key"):
        await queue.submit(dataclasses.replace(new_job("x"), key=JobKey(tenant, job_id), model=model))


async def test_a_request_larger_than_redis_should_keep_is_refused(queue: JobQueue) -> None:
    request = GenerationRequest(model=MODEL, input=GenerationInput(prompt="a", image="x" * 70_000))
    with pytest.raises(BodyTooLarge):
        await queue.submit(dataclasses.replace(new_job("a"), request=request))


async def test_out_of_memory_refuses_submits_and_lets_the_rest_go_on(queue: JobQueue) -> None:
    for name in "abc":
        await queue.submit(new_job(name))
    [job] = (await claim(queue)).jobs
    await queue.redis.config_set("maxmemory", 1)
    before = await dump(queue)
    with pytest.raises(Unavailable) as caught:
        await queue.submit(new_job("d"))
    assert caught.value.retry_after_s == queue.settings.retry_after_s
    assert await dump(queue) == before
    assert await queue.renew("w1", [(job.key, job.token)]) == ["ok"]
    assert await queue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE) == "ok"
    assert await queue.cancel(JobKey("anna", "b")) == "cancelled"
    assert len((await claim(queue)).jobs) == 1
    await queue.redis.config_set("maxmemory", 0)


async def test_a_tenants_list_is_newest_first_and_pages(queue: JobQueue) -> None:
    names = [f"job{index}" for index in range(7)]
    for name in names:
        await queue.submit(new_job(name))
        await asyncio.sleep(0.002)  # created in different milliseconds
    await queue.submit(new_job("foreign", tenant="bob"))
    pages, after = [], None
    while True:
        page = await queue.list("anna", after=after, limit=3)
        pages.append([record.key.id for record in page.records])
        if not page.has_more:
            break
        after = pages[-1][-1]
    assert pages == [["job6", "job5", "job4"], ["job3", "job2", "job1"], ["job0"]]


async def test_cancel_takes_a_waiting_job_out(queue: JobQueue) -> None:
    await queue.submit(new_job("a"))
    assert await queue.cancel(JobKey("anna", "a")) == "cancelled"
    record = await queue.get(JobKey("anna", "a"))
    assert record is not None
    assert record.status is JobStatus.CANCELLED
    assert record.completed_ms is not None
    assert await queue.cancel(JobKey("anna", "a")) == "already_cancelled"
    assert (await claim(queue)).jobs == ()
    assert await events_of(queue, "a") == ["cancelled"]


async def test_a_waiting_job_can_be_granted_less_down_to_its_floor(queue: JobQueue) -> None:
    await queue.submit(new_job("a", floor_mflop=30))
    key = JobKey("anna", "a")
    assert await queue.regrant(key, 29, 35) == "floor"
    assert await queue.regrant(key, 40, 45) == "ok"
    assert await queue.regrant(key, 40, 45) == "ok"
    record = await queue.get(key)
    assert record is not None
    assert (record.granted_mflop, record.units) == (40, 45)
    assert (await queue.load(MODEL)).queued_units == 45
    assert await events_of(queue, "a") == ["degraded"]
    [job] = (await claim(queue)).jobs
    assert job.granted_mflop == 40
    assert await queue.regrant(key, 30, 35) == "started"
    await check_books(queue)
