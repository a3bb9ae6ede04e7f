"""Gateways on real sockets, workers that are real clients of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from protocol.artifacts import ArtifactStore
from protocol.catalog import CatalogEntry
from protocol.jobqueue import Catalog, JobQueue
from server.app import create_app
from server.listening import listen
from server.serving import GatewayServer, make_jobqueue
from server.settings import ServerSettings
from tests.protocol.entries import flux_entry
from tests.server.standin import StandIn

Hire = Callable[..., Awaitable[StandIn]]
OpenStudio = Callable[[], Awaitable[None]]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts"))


@pytest_asyncio.fixture
async def entry(jobqueue: JobQueue) -> CatalogEntry:
    """`flux-tiny`, catalogued as a worker would."""
    entry = flux_entry()
    await Catalog(jobqueue).put(entry)
    return entry


class Gateways:
    """Starts gateways of one Redis and one artifact folder; each call returns another one's URL."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._running: list[tuple[GatewayServer, asyncio.Task[None], JobQueue]] = []

    async def __call__(self, **changes: Any) -> str:
        settings = ServerSettings.load(**{**self._settings, **changes})
        jobqueue = make_jobqueue(settings)
        store = ArtifactStore(settings.artifacts, settings.s3)
        server = GatewayServer(create_app(settings, jobqueue, store), settings)
        listener = listen("127.0.0.1", 0)
        await server.gateway.start()
        self._running.append((server, asyncio.create_task(server.serve([listener])), jobqueue))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        """Tell all to drain, as a signal would."""
        for server, _, _ in self._running:
            if not server.should_exit:
                server.drain()

    async def close(self) -> None:
        await self.stop()
        for server, task, jobqueue in self._running:
            await task
            await server.gateway.stop()
            await jobqueue.close()


@pytest_asyncio.fixture
async def serve(valkey_url: str, tmp_path: Path, entry: CatalogEntry) -> AsyncIterator[Gateways]:
    """A factory of gateways that serve `entry`."""
    gateways = Gateways(redis_url=valkey_url, artifacts=str(tmp_path / "artifacts"))
    yield gateways
    await gateways.close()


@pytest_asyncio.fixture
async def url(serve: Gateways) -> str:
    """One gateway with default settings."""
    return await serve()


@pytest_asyncio.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


@pytest_asyncio.fixture
async def hire(jobqueue: JobQueue, store: ArtifactStore) -> AsyncIterator[Hire]:
    """Starts stand-in workers."""
    hired: list[StandIn] = []

    async def start(*, held: bool = False) -> StandIn:
        worker = StandIn(jobqueue, store, ["flux-tiny"])
        if held:
            worker.hold()
        hired.append(worker)
        await worker.start()
        return worker

    yield start
    for worker in hired:
        await worker.stop()


@pytest_asyncio.fixture
async def wan(load_wan: Callable[[str, str], Any], jobqueue: JobQueue, serve: Gateways) -> Any:
    """The tiny Wan, catalogued beside flux-tiny."""
    model = load_wan("unipc", "float32")
    await Catalog(jobqueue).put(model.catalog)
    return model


@pytest_asyncio.fixture
async def open_studio(wan: Any, jobqueue: JobQueue, store: ArtifactStore) -> AsyncIterator[OpenStudio]:
    """Starts the worker of videos: before that, jobs wait."""
    from tests.server.studio import Studio  # it needs torch, which the other tests here do not

    studio = Studio([wan], jobqueue, store)

    async def open_now() -> None:
        studio.open()

    yield open_now
    await studio.close()


@pytest_asyncio.fixture
async def sequences(
    load_sequences: Callable[..., Any], jobqueue: JobQueue, serve: Gateways
) -> dict[str, Any]:
    """The tiny models of text and music by name, catalogued beside flux-tiny."""
    loaded = {name: load_sequences(name) for name in ("letters", "voices")}
    for model in loaded.values():
        await Catalog(jobqueue).put(model.catalog)
    return loaded


@pytest_asyncio.fixture
async def sequence_studio(
    sequences: dict[str, Any], jobqueue: JobQueue, store: ArtifactStore
) -> AsyncIterator[None]:
    """Their worker, at work."""
    from tests.server.studio import Studio  # it needs torch, which the other tests here do not

    studio = Studio([*sequences.values()], jobqueue, store)
    studio.open()
    yield
    await studio.close()


def body(**changes: Any) -> dict[str, Any]:
    """A good request; `changes` to its input under their own names, to the rest under `job`."""
    job = changes.pop("job", {})
    given = {"prompt": "two red apples", "width": 64, "height": 64, "num_inference_steps": 4, "seed": 7}
    return {"model": "flux-tiny", "input": {**given, **changes}, **job}


async def ended(http: httpx.AsyncClient, job_id: str, *, within_s: float = 10.0) -> dict[str, Any]:
    """The job once it has ended."""
    async with asyncio.timeout(within_s):
        while True:
            job: dict[str, Any] = (await http.get(f"/v1/generations/{job_id}")).json()
            if job["status"] in ("completed", "failed", "cancelled"):
                return job
            await asyncio.sleep(0.02)
