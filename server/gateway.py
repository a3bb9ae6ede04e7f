"""One gateway: what its routes share, and what goes on in it between requests."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from redis.exceptions import RedisError
from starlette.requests import Request

from protocol.artifacts import ArtifactStore
from protocol.errors import Unavailable
from protocol.jobqueue import Catalog, EventHub, JobQueue
from protocol.states import WorkerState
from server.admission import Admission
from server.answers import Presenter
from server.auth import Doorkeeper
from server.metrics import GatewayMetrics
from server.settings import ServerSettings
from server.signing import Signer
from server.tracing import GatewayTracing

log = logging.getLogger(__name__)

AWAY = (RedisError, OSError, Unavailable)
"""How a Redis that does not answer shows; anything else is a mistake and ends the gateway."""


class Gateway:
    """Holds no state of jobs: any gateway of the same Redis and artifact store answers for any job."""

    def __init__(
        self,
        settings: ServerSettings,
        jobqueue: JobQueue,
        catalog: Catalog,
        hub: EventHub,
        store: ArtifactStore,
    ) -> None:
        self.settings = settings
        self.jobqueue = jobqueue
        self.catalog = catalog
        self.hub = hub
        self.store = store
        self.metrics = GatewayMetrics()
        self.doorkeeper = Doorkeeper(settings.api_keys)
        self.tracing = GatewayTracing(settings.tracing)
        self.admission = Admission(jobqueue, catalog, self.metrics, self.tracing)
        self.draining = asyncio.Event()
        self._opened = False
        self._signer: Signer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the queue if Redis answers, else keep trying; begin to reap.

        Raises:
            protocol.jobqueue.UnsuitableServer: Redis answers and is unfit, so waiting would not help.
        """
        await self._try_to_open()
        await self.hub.start()
        self._tasks.append(asyncio.create_task(self._each_second()))

    async def stop(self) -> None:
        self.draining.set()
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.hub.stop()
        await asyncio.to_thread(self.tracing.close)

    async def signer(self) -> Signer:
        """The signer with the secret all gateways share."""
        if self._signer is None:
            self._signer = Signer(await self.catalog.secret(), self.settings.url_ttl_s)
        return self._signer

    async def presenter(self, request: Request) -> Presenter:
        return Presenter(self.address(request), await self.signer())

    def address(self, request: Request) -> str:
        """By what callers reach us, without a slash at its end."""
        return (self.settings.public_url or str(request.base_url)).rstrip("/")

    async def checks(self) -> dict[str, str]:
        """What readiness depends on, each `ok` or what is wrong."""
        if self.draining.is_set():
            return {"gateway": "draining"}
        try:
            await self.jobqueue.ping()
            await self._try_to_open()
        except AWAY as error:
            log.warning("not ready: %s", error)
            return {"redis": "does not answer"}
        found = {
            "redis": "ok" if self._opened else "scripts do not load",
            "artifacts": await self._artifacts(),
        }
        if self.settings.ready_needs_worker:
            found["worker"] = await self._worker()
        return found

    async def _artifacts(self) -> str:
        try:
            await self.store.ensure_shared(self.catalog)
        except AWAY as error:
            return str(error)
        return "ok"

    async def _worker(self) -> str:
        workers = await self.catalog.workers()
        return "ok" if any(worker.state is WorkerState.READY for worker in workers) else "none is ready"

    async def _try_to_open(self) -> None:
        if self._opened:
            return
        try:
            await self.jobqueue.open()
            self._opened = True
        except AWAY as error:
            log.warning("Redis does not answer yet: %s", error)

    async def _each_second(self) -> None:
        while True:
            await asyncio.sleep(self.settings.reap_every_s)
            try:
                await self._try_to_open()
                await self.jobqueue.reap()
            except AWAY as error:
                log.warning("reap: %s", error)
