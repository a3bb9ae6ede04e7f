"""URLs to clients, and a queue through each kind of server: password, Sentinel, Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import pytest
import redis
import redis.exceptions
from redis.asyncio import Redis, RedisCluster, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from protocol.connection import Address, BadRedisUrl, ConnectionSettings, connect, parse_address, translated
from protocol.errors import Unavailable
from protocol.jobqueue import EventHub, JobKey, JobQueue, QueueSettings
from protocol.states import JobStatus
from tests.jobqueue.support import DONE, MODEL, claim, new_job, step_event
from tests.plugins.valkey import SpawnValkey, free_port

SETTINGS = ConnectionSettings(connect_timeout_s=1, timeout_s=3, retries=2)


async def test_plain_urls() -> None:
    client = connect("redis://anna:s%40cret@db.example:7000/3", SETTINGS)
    assert isinstance(client, Redis)
    options = client.connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == ("db.example", 7000, 3)
    assert (options["username"], options["password"]) == ("anna", "s@cret")
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (3, 1)
    assert options["retry"].get_retries() == 2


async def test_a_patient_client_neither_times_out_nor_repeats() -> None:
    client = connect("redis://localhost", SETTINGS, patient=True)
    assert isinstance(client, Redis)
    options = client.connection_pool.connection_kwargs
    assert options["socket_timeout"] is None
    assert options["retry"].get_retries() == 0


async def test_tls_and_unix_urls() -> None:
    tls = connect("rediss://localhost?ssl_ca_certs=/ca.pem")
    assert isinstance(tls, Redis)
    assert tls.connection_pool.connection_class is SSLConnection
    assert tls.connection_pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
    unix = connect("unix:///run/valkey.sock?db=2")
    assert isinstance(unix, Redis)
    assert unix.connection_pool.connection_class is UnixDomainSocketConnection
    assert unix.connection_pool.connection_kwargs["path"] == "/run/valkey.sock"


def test_our_own_forms_are_taken_apart() -> None:
    url = "rediss+sentinel://anna:p%2Fw@h1:1,[::1]:2,h3/mymaster/4?ssl_cert_reqs=none&sentinel_password=x"
    assert parse_address(url, 26379) == Address(
        hosts=(("h1", 1), ("::1", 2), ("h3", 26379)),
        path=("mymaster", "4"),
        username="anna",
        password="p/w",
        tls=True,
        options={"ssl_cert_reqs": "none", "sentinel_password": "x"},
    )
    assert parse_address("redis+cluster://[::1]", 6379).hosts == (("::1", 6379),)


async def test_sentinel_urls_with_tls() -> None:
    client = connect(
        "rediss+sentinel://:pw@h1,h2/mymaster/4?ssl_ca_certs=/ca.pem&ssl_check_hostname=false"
        "&sentinel_username=watch&sentinel_password=w",
        SETTINGS,
    )
    assert isinstance(client, Redis)
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mymaster"
    assert pool.connection_class is SentinelManagedSSLConnection
    options = pool.connection_kwargs
    assert (options["db"], options["password"], options["ssl_ca_certs"]) == (4, "pw", "/ca.pem")
    assert options["ssl_check_hostname"] is False
    watcher = pool.sentinel_manager.sentinels[0].connection_pool
    assert (watcher.connection_kwargs["username"], watcher.connection_kwargs["password"]) == ("watch", "w")
    assert watcher.connection_class is SSLConnection


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://localhost", "must start with"),
        ("localhost:6379", "must start with"),
        ("redis+ring://localhost", "must start with"),
        ("redis://localhost:port", "port"),
        ("redis+sentinel://h1,h2", "names the master"),
        ("redis+sentinel://h1/a/b/c", "names the master"),
        ("redis+sentinel://h1/mymaster/zero", "database number"),
        ("redis+sentinel://h1,/mymaster", "not a host"),
        ("redis+cluster://h1:x", "not a host"),
        ("redis+cluster://h1/3", "only database 0"),
        ("redis+cluster://h1?colour=red", "unknown option colour"),
    ],
)
def test_what_is_not_understood_is_refused_without_the_password(url: str, word: str) -> None:
    with pytest.raises(BadRedisUrl, match=word) as caught:
        connect(url.replace("//", "//anna:geheim@"))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.ConnectionError("refused"),
        redis.exceptions.TimeoutError("slow"),
        redis.exceptions.BusyLoadingError("loading"),
        redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
        redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.exceptions.ClusterDownError("CLUSTERDOWN"),
        redis.exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
    ],
)
async def test_every_way_of_being_away_is_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable) as caught, translated(7):
        raise error
    assert caught.value.retry_after_s == 7
    assert caught.value.__cause__ is error


async def test_our_own_mistakes_are_not() -> None:
    with pytest.raises(redis.exceptions.ResponseError), translated(7):
        raise redis.exceptions.ResponseError("WRONGTYPE Operation against a key")
    with pytest.raises(KeyError), translated(7):
        raise KeyError("x")


async def test_a_swallowed_cancellation_comes_through() -> None:
    """Python 3.11's `wait_for` returns a result that came together with a cancellation; the task went on."""

    async def swallow() -> None:
        with translated(1), contextlib.suppress(asyncio.CancelledError):  # as `wait_for` does
            await asyncio.sleep(10)
        raise AssertionError("went on")

    task = asyncio.create_task(swallow())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def run_a_job(queue: JobQueue, tenant: str) -> None:
    """Submit, bell, claim, follow, publish, cancel flag, commit: everything a server must bear."""
    key = JobKey(tenant, "a")
    hub = EventHub(queue)
    await hub.start()
    assert (await queue.submit(new_job("a", tenant=tenant))).outcome == "ok"
    assert await queue.wait_bell([MODEL], 5) is True
    job = None
    while job is None:
        jobs = (await claim(queue, f"worker-{secrets.token_hex(4)}")).jobs
        job = next((found for found in jobs if found.key == key), None)

    async def follow() -> list[str]:
        return [streamed.event.type async for streamed in hub.stream(key)]

    following = asyncio.create_task(follow())
    assert await queue.publish(key, job.token, [step_event(0)], step=1) == "ok"
    assert await queue.renew("w", [(key, job.token)]) == ["ok"]
    assert await queue.commit(key, job.token, JobStatus.COMPLETED, 0, DONE) == "ok"
    assert await asyncio.wait_for(following, 20) == ["started", "step", "completed"]
    assert [record.key for record in (await queue.list(tenant)).records] == [key]
    assert await queue.reap() == 0
    await hub.stop()


async def test_a_queue_behind_a_password(spawn_valkey: SpawnValkey) -> None:
    port = spawn_valkey("--requirepass", "geheim", "--appendonly", "yes")
    queue = await JobQueue.connect(f"redis://:geheim@127.0.0.1:{port}/2")
    await run_a_job(queue, "anna")
    await queue.close()
    with pytest.raises(Unavailable):
        await JobQueue.connect(f"redis://127.0.0.1:{port}")


async def test_a_queue_behind_sentinel(
    spawn_valkey: SpawnValkey, tmp_path_factory: pytest.TempPathFactory
) -> None:
    port = spawn_valkey("--requirepass", "geheim", "--appendonly", "yes")
    config = tmp_path_factory.mktemp("sentinel") / "sentinel.conf"
    config.write_text(f"sentinel monitor mymaster 127.0.0.1 {port} 1\nsentinel auth-pass mymaster geheim\n")
    sentinel = spawn_valkey(str(config), "--sentinel")
    url = f"redis+sentinel://:geheim@127.0.0.1:1,127.0.0.1:{sentinel}/mymaster"
    queue = await JobQueue.connect(url, QueueSettings(connection=SETTINGS, durability="fsync"))
    await run_a_job(queue, "anna")
    await queue.close()


async def test_a_queue_on_a_cluster(spawn_valkey: SpawnValkey) -> None:
    """Two nodes, four partitions: each partition in one slot, all of the queue on both nodes."""
    options = ("--cluster-enabled", "yes", "--appendonly", "yes")
    buses = [free_port() for _ in range(2)]
    ports = [spawn_valkey(*options, "--cluster-port", str(bus)) for bus in buses]
    nodes = [redis.Redis(port=port, protocol=2) for port in ports]
    nodes[0].execute_command("CLUSTER ADDSLOTSRANGE", 0, 8191)
    nodes[1].execute_command("CLUSTER ADDSLOTSRANGE", 8192, 16383)
    nodes[1].execute_command("CLUSTER MEET", "127.0.0.1", ports[0], buses[0])
    async with asyncio.timeout(20):
        while not all(node.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for node in nodes):
            await asyncio.sleep(0.05)
    settings = QueueSettings(partitions=4, durability="fsync", connection=SETTINGS)
    queue = await JobQueue.connect(f"redis+cluster://127.0.0.1:{ports[1]},127.0.0.1:{ports[0]}", settings)
    assert isinstance(queue.redis, RedisCluster)
    tenants = [f"tenant{index}" for index in range(6)]
    for tenant in tenants:
        await run_a_job(queue, tenant)
    assert all(node.dbsize() > 0 for node in nodes)
    await queue.close()
    for node in nodes:
        node.close()
