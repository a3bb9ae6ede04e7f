"""Valkeys and workers to hurt. A worker takes seconds to start, so some files share a standing one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.valkey import EmbeddedValkey
from tests.system.harness import Desk, WorkerProgram

MakeWorker = Callable[..., WorkerProgram]


@pytest.fixture(scope="module")
def make_worker(tmp_path_factory: pytest.TempPathFactory, flux_root: Path) -> Iterator[MakeWorker]:
    """Starts workers of this file's own."""
    folder = tmp_path_factory.mktemp("workers")
    made: list[WorkerProgram] = []

    def make(redis_url: str, **settings: Any) -> WorkerProgram:
        worker = WorkerProgram(folder, redis_url, flux_root, f"worker-{len(made)}", **settings)
        made.append(worker)
        worker.start()
        return worker

    yield make
    for worker in made:
        worker.close()


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """This file's own server, without a worker."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture(scope="session")
def standing_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """The standing worker's server."""
    with EmbeddedValkey(tmp_path_factory.mktemp("standing-valkey")) as valkey:
        yield valkey


@pytest.fixture(scope="session")
def standing_worker(
    tmp_path_factory: pytest.TempPathFactory, standing_valkey: EmbeddedValkey, flux_root: Path
) -> Iterator[WorkerProgram]:
    """A worker for all files, perhaps not ready yet. Whoever hurts it leaves its supervisor running."""
    worker = WorkerProgram(tmp_path_factory.mktemp("standing"), standing_valkey.url, flux_root, "standing")
    worker.start()
    yield worker
    worker.close()


@pytest_asyncio.fixture
async def own_desk(own_valkey: EmbeddedValkey) -> AsyncIterator[Desk]:
    """Access to the jobs in `own_valkey`."""
    async with _reaping_desk(own_valkey) as desk:
        yield desk


@pytest_asyncio.fixture
async def standing_desk(standing_valkey: EmbeddedValkey) -> AsyncIterator[Desk]:
    """Access to the standing worker's jobs."""
    async with _reaping_desk(standing_valkey) as desk:
        yield desk


@asynccontextmanager
async def _reaping_desk(valkey: EmbeddedValkey) -> AsyncIterator[Desk]:
    desk = await Desk.open(valkey.url)
    closing = asyncio.Event()
    reaping = asyncio.create_task(desk.reap_until(closing))
    try:
        yield desk
    finally:
        closing.set()
        await reaping
        await desk.close()
