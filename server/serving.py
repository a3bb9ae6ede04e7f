"""Running the application: uvicorn, with a drain that lets go of endless streams first."""

from __future__ import annotations

import asyncio
import logging
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from protocol.artifacts import ArtifactStore
from protocol.connection import connect
from protocol.jobqueue import JobQueue
from server.app import create_app
from server.gateway import Gateway
from server.listening import listen
from server.settings import ServerSettings

log = logging.getLogger("rheostat.gateway")


class GatewayServer(uvicorn.Server):
    """Ends event streams when told to stop; clients take them up elsewhere by Last-Event-ID."""

    def __init__(self, app: FastAPI, settings: ServerSettings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            )
        )
        self.gateway: Gateway = app.state.gateway
        self._loop = asyncio.get_running_loop()

    def drain(self) -> None:
        """Stop accepting, let open calls end, then have `serve` return. Safe in a signal handler."""
        self.force_exit = self.should_exit
        self.should_exit = True
        # A signal handler runs between any two instructions; only this call wakes the loop safely.
        self._loop.call_soon_threadsafe(self.gateway.draining.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at once at the second; the original would die of the signal."""
        self.drain()


async def serve(settings: ServerSettings, listener: socket.socket) -> None:
    """Serve on `listener` until a signal, then drain for at most `drain_s`."""
    jobqueue, store = make_jobqueue(settings), ArtifactStore(settings.artifacts, settings.s3)
    server = GatewayServer(create_app(settings, jobqueue, store), settings)
    try:
        await server.gateway.start()
        log.info("listening on %s:%s", *listener.getsockname()[:2])
        await server.serve([listener])
    finally:
        await server.gateway.stop()
        await jobqueue.close()


def run(settings: ServerSettings, listen_fd: int | None = None) -> None:
    """`serve` in a program of its own, on uvloop.

    Args:
        listen_fd: a socket that listens already, from `rheostat up`; it outlives us, so that no caller is
            refused while a gateway is replaced.

    Raises:
        AddressTaken: host and port cannot be had.
    """
    import uvloop

    listener = listen(settings.host, settings.port) if listen_fd is None else socket.socket(fileno=listen_fd)
    with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, listener))


def make_jobqueue(settings: ServerSettings) -> JobQueue:
    """The queue, not opened yet: a gateway may start before Redis does, and says so in its readiness."""
    url, limits = settings.redis_url, settings.queue.connection
    return JobQueue(connect(url, limits), settings.queue, patient=connect(url, limits, patient=True))
