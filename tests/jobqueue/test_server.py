"""The server under the queue: what it must be, and what happens when it goes."""

from __future__ import annotations

import asyncio
import logging

import pytest

from protocol import keys
from protocol.connection import ConnectionSettings
from protocol.errors import Unavailable
from protocol.jobqueue import EventHub, JobKey, JobQueue, QueueSettings, UnsuitableServer
from protocol.jobqueue.lua import load_scripts
from protocol.states import JobStatus
from tests.jobqueue.conftest import MakeQueue
from tests.jobqueue.support import DONE, MODEL, check_books, claim, events_of, new_job, step_event
from tests.plugins.valkey import MakeValkey

IMPATIENT = ConnectionSettings(connect_timeout_s=0.5, timeout_s=0.5, retries=1)


async def test_a_server_that_evicts_is_refused(queue: JobQueue, make_queue: MakeQueue) -> None:
    await queue.redis.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(UnsuitableServer, match="maxmemory-policy allkeys-lru"):
        await make_queue()
    await queue.redis.config_set("maxmemory-policy", "noeviction")


async def test_a_server_that_appends_nothing_is_warned_of(
    queue: JobQueue, make_queue: MakeQueue, caplog: pytest.LogCaptureFixture
) -> None:
    await queue.redis.config_set("appendonly", "no")
    try:
        with caplog.at_level(logging.WARNING):
            await make_queue()
        assert "appendonly no" in caplog.text
        with pytest.raises(UnsuitableServer, match="fsync needs an append-only file"):
            await make_queue(durability="fsync")
    finally:
        await queue.redis.config_set("appendonly", "yes")


async def test_a_server_that_demands_declared_keys_is_refused(queue: JobQueue, valkey_url: str) -> None:
    """An ACL that allows no key stands in for such a server: it refuses what the script touches."""
    await queue.redis.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "+@all", "~other:*", "&*")
    with pytest.raises(UnsuitableServer, match="demand for declared keys"):
        await JobQueue.connect(valkey_url.replace("//", "//narrow:pw@"))
    await queue.redis.execute_command("ACL", "DELUSER", "narrow")


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(Unavailable) as caught:
        await JobQueue.connect("redis://127.0.0.1:1", QueueSettings(connection=IMPATIENT, retry_after_s=7))
    assert caught.value.retry_after_s == 7
    assert "127.0.0.1" not in caught.value.message


async def test_flushed_scripts_are_loaded_again(queue: JobQueue) -> None:
    await queue.redis.script_flush()
    assert (await queue.submit(new_job("a"))).outcome == "ok"
    await queue.redis.script_flush()
    assert len((await claim(queue)).jobs) == 1


async def test_fsync_durability_waits_for_the_file(make_queue: MakeQueue) -> None:
    queue = await make_queue(durability="fsync")
    await queue.redis.script_flush()
    assert (await queue.submit(new_job("a"))).outcome == "ok"
    [job] = (await claim(queue)).jobs
    assert await queue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE) == "ok"


async def test_replica_durability_says_when_there_is_none(make_queue: MakeQueue) -> None:
    queue = await make_queue(durability="replica", durability_timeout_ms=50)
    with pytest.raises(Unavailable, match="not durable yet"):
        await queue.submit(new_job("a"))
    with pytest.raises(Unavailable, match="not durable yet"):
        await queue.submit(new_job("a"))  # a repeat attaches, and waits as well
    assert (await queue.load(MODEL)).queued_jobs == 1


async def test_replica_durability_is_content_with_one(make_valkey: MakeValkey) -> None:
    first, second = make_valkey(), make_valkey()
    replica = await JobQueue.connect(second.url)
    queue = await JobQueue.connect(
        first.url, QueueSettings(durability="replica", durability_timeout_ms=5_000)
    )
    try:
        await queue.redis.config_set("repl-diskless-sync-delay", 0)
        await replica.redis.replicaof("127.0.0.1", first.port)
        async with asyncio.timeout(20):
            while (await replica.redis.info("replication"))["master_link_status"] != "up":
                await asyncio.sleep(0.05)
        assert (await queue.submit(new_job("a"))).outcome == "ok"
        assert await replica.get(JobKey("anna", "a")) is not None
    finally:
        await replica.close()
        await queue.close()


async def test_every_key_is_in_the_one_file(queue: JobQueue) -> None:
    """`check_books` compares what a busy queue makes; here the words the scripts could use."""
    used = set()
    for script in load_scripts(queue.settings).values():
        used |= {part.split("'")[0] for part in script.source.split("key('")[1:]}
    assert used <= keys.NAMES


async def test_a_killed_server_loses_nothing_it_acknowledged(make_valkey: MakeValkey) -> None:
    """Jobs go in while the server is killed five times; every one that was answered `ok` is there."""
    valkey = make_valkey()
    queue = await JobQueue.connect(valkey.url, QueueSettings(connection=IMPATIENT))
    accepted: list[str] = []
    stop = asyncio.Event()

    async def produce(lane: int) -> None:
        index = 0
        while not stop.is_set():
            name = f"l{lane}-{index}"
            try:
                if (await queue.submit(new_job(name))).outcome in ("ok", "replay"):
                    accepted.append(name)
                    index += 1  # else the same PUT again
            except Unavailable:
                await asyncio.sleep(0.02)

    producers = [asyncio.create_task(produce(lane)) for lane in range(3)]
    for kill in range(5):
        while len(accepted) < 20 * (kill + 1):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(valkey.kill)
        await asyncio.to_thread(valkey.start)
    stop.set()
    await asyncio.gather(*producers)
    assert len(accepted) == len(set(accepted)) >= 100
    records = [await queue.get(JobKey("anna", name)) for name in accepted]
    assert all(record is not None for record in records)
    await check_books(queue)
    await queue.close()


async def test_a_restart_in_the_middle_of_a_job(make_valkey: MakeValkey) -> None:
    """Lease, events and followers outlive the server; a commit in doubt is repeated and stands once."""
    valkey = make_valkey()
    queue = await JobQueue.connect(valkey.url, QueueSettings(connection=IMPATIENT))
    hub = EventHub(queue)
    await hub.start()
    await queue.submit(new_job("a"))
    [job] = (await claim(queue)).jobs
    got = []

    async def follow() -> None:
        async for streamed in hub.stream(job.key):
            got.append(streamed.seq)  # noqa: PERF401 - read while it grows

    following = asyncio.create_task(follow())
    await queue.publish(job.key, job.token, [step_event(0)])
    while len(got) < 2:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(valkey.kill)
    with pytest.raises(Unavailable):
        await queue.publish(job.key, job.token, [step_event(1)])
    await asyncio.to_thread(valkey.start)
    assert await queue.publish(job.key, job.token, [step_event(1)]) == "ok"
    assert await queue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE) == "ok"
    await asyncio.wait_for(following, 20)
    assert got == [1, 2, 3, 4]
    assert await events_of(queue, "a") == ["started", "step", "step", "completed"]
    await hub.stop()
    await queue.close()


async def test_waiting_for_the_bell_survives_longer_than_a_reply_may_take(make_queue: MakeQueue) -> None:
    queue = await make_queue(connection=IMPATIENT)
    assert await queue.wait_bell([MODEL], timeout_s=1.2) is False
