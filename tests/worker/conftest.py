"""The engine process's loop over a real engine, a real Valkey and real files, without a supervisor."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from protocol import metrics
from protocol.artifacts import ArtifactStore
from protocol.jobqueue import JobKey, JobQueue
from protocol.receipts import Receipt
from tests.system.harness import QUEUE, Desk
from workers.board import Board, Lease, Orders
from workers.engine import Engine
from workers.meter import Meter
from workers.metrics import WorkerMetrics, listen
from workers.runtime import Runtime
from workers.settings import WorkerSettings
from workers.speed import Speedometer


@dataclass
class Bench:
    """A running loop and everything around it."""

    desk: Desk
    board: Board
    store: ArtifactStore
    metrics: WorkerMetrics
    running: asyncio.Task[None]
    artifacts: Path

    async def receipt(self, key: JobKey) -> Receipt:
        record = await self.desk.record(key)
        assert record.receipt_path is not None
        return await self.store.get_receipt(record.receipt_path)

    def lease(self, key: JobKey) -> Lease:
        return next(lease for lease in self.board.report.leases if lease.id == key.id)

    async def drain(self, drain_s: float = 20.0) -> None:
        """Have it end as the supervisor would."""
        self.board.orders = Orders(draining=True, drain_s=drain_s)
        await asyncio.wait_for(self.running, 30)

    def value(self, metric: metrics.Metric, *labels: str) -> float:
        named = dict(zip(metric.labels, labels, strict=True))
        return self.metrics.registry.get_sample_value(metric.name, named) or 0.0


@pytest.fixture
def settings() -> WorkerSettings:
    """Of the loop."""
    return WorkerSettings.load(queue=QUEUE)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """Of the loop."""
    return ArtifactStore(str(tmp_path / "artifacts"))


@pytest.fixture
def served(load_flux: Callable[[str, str], Any]) -> list[Any]:
    """The models of the loop."""
    return [load_flux("plain", "float32")]


@pytest.fixture
def served_with_clips(served: list[Any], load_wan: Callable[[str, str], Any]) -> list[Any]:
    served.append(load_wan("unipc", "float32"))
    return served


@pytest_asyncio.fixture
async def bench(
    valkey_url: str, tmp_path: Path, store: ArtifactStore, served: list[Any], settings: WorkerSettings
) -> AsyncIterator[Bench]:
    """A running loop that serves `served`, drained at the end."""
    desk = await Desk.open(valkey_url)
    for model in served:
        await desk.catalog.put(model.catalog)
    queue = await JobQueue.connect(valkey_url, QUEUE)
    fd = Board.create()
    inlet, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    worker_metrics = WorkerMetrics()
    listen(inlet, worker_metrics)
    runtime = Runtime(
        "worker",
        settings,
        board=Board(fd),
        engine=Engine(served),
        entries=[model.catalog for model in served],
        queue=queue,
        store=store,
        meter=Meter(outlet),
        speed=Speedometer(),
    )
    bench = Bench(
        desk, Board(fd), store, worker_metrics, asyncio.create_task(runtime.run()), tmp_path / "artifacts"
    )
    yield bench
    if not bench.running.done():
        await bench.drain(0.0)
    asyncio.get_running_loop().remove_reader(inlet.fileno())
    inlet.close()
    outlet.close()
    os.close(fd)
    await queue.close()
    await desk.close()
