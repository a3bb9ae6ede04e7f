"""Twenty jobs over HTTP while gateway, worker and Valkey are killed in turn: all end, each once."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from protocol.jobqueue import JobKey
from server.valkey import EmbeddedValkey
from tests.system.conftest import MakeWorker
from tests.system.harness import ANONYMOUS, Desk, Program, free_port, settings_of_queue
from tests.system.http_client import Client

JOBS = 20


def make_gateway(folder: Path, port: int, redis_url: str, artifacts: Path) -> Program:
    command = [
        "server",
        "server",
        "--port",
        str(port),
        "--redis-url",
        redis_url,
        "--artifacts",
        str(artifacts),
    ]
    return Program(command, folder / "gateway.log", **settings_of_queue("SERVER"))


@pytest.mark.timeout(240)
async def test_all_jobs_end_once(
    tmp_path: Path, make_worker: MakeWorker, own_valkey: EmbeddedValkey, own_desk: Desk
) -> None:
    port = free_port()
    worker = make_worker(own_valkey.url)
    gateway = make_gateway(tmp_path, port, own_valkey.url, worker.artifacts)
    gateway.start()
    client = Client(f"http://127.0.0.1:{port}")
    try:
        await worker.ready(own_desk.catalog)
        names = [f"job-{index}" for index in range(JOBS)]
        async with asyncio.TaskGroup() as group:
            group.create_task(client.put_all(names))
            await client.reached(JOBS // 4)
            gateway.kill()
            gateway.start()
        await client.reached(2, "completed")
        own_valkey.kill()
        own_valkey.start()
        await client.reached(6, "completed")
        worker.kill()
        worker.start()
        states = [await client.ended(name) for name in names]
        assert [state["status"] for state in states] == ["completed"] * JOBS
        for state in states:
            (artifact,) = state["artifacts"]
            picture = await client.call("GET", artifact["url"])
            assert hashlib.sha256(picture.content).hexdigest() == artifact["sha256"]
            await own_desk.assert_ended_once(JobKey(ANONYMOUS, state["id"]))
        await own_desk.assert_nothing_left()
    finally:
        await client.close()
        gateway.close()
