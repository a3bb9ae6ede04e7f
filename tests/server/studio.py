"""A worker beside a gateway: the real runtime and engine on tiny models, without a supervisor."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Any

from protocol.artifacts import ArtifactStore
from protocol.jobqueue import JobQueue
from workers.board import Board, Orders
from workers.engine import Engine, EngineSettings
from workers.meter import Meter
from workers.runtime import Runtime
from workers.settings import WorkerSettings
from workers.speed import Speedometer


class Studio:
    """Serves loaded models until closed. A preview is made of every second evaluation."""

    def __init__(self, models: Sequence[Any], jobqueue: JobQueue, store: ArtifactStore) -> None:
        self._board_fd = Board.create()
        self._inlet, self._outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._board = Board(self._board_fd)
        self._runtime = Runtime(
            "studio",
            WorkerSettings.load(),
            board=self._board,
            engine=Engine(models, EngineSettings(preview_every=2)),
            entries=[model.catalog for model in models],
            queue=jobqueue,
            store=store,
            meter=Meter(self._outlet),
            speed=Speedometer(),
        )
        self._running: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to claim."""
        self._running = asyncio.create_task(self._runtime.run())

    async def close(self) -> None:
        """Drain as the supervisor would have it."""
        if self._running is not None:
            self._board.orders = Orders(draining=True, drain_s=0.0)
            await asyncio.wait_for(self._running, 30)
        self._inlet.close()
        self._outlet.close()
        os.close(self._board_fd)
