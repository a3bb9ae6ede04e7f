"""The supervisor: a small process that holds signals and leases and keeps an engine process alive.

It never imports torch, so nothing a model does can stall it. It renews leases only while the engine's turn
counter moves; an engine that stands still is killed, and what a dead engine held is abandoned at once, so
that others need not wait for the leases to run out. Every engine process claims under a name of its own:
abandoning a dead one can never touch its successor's leases.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import TYPE_CHECKING

from protocol.connection import connect
from protocol.jobqueue import Catalog, JobKey, JobQueue
from protocol.keys import PRESENCE_TTL_S
from protocol.states import WorkerState
from protocol.tracing import not_installed
from workers.board import Board, Lease, Orders, Report, Verdict
from workers.metrics import WorkerMetrics, listen
from workers.nursery import Nursery, ZygoteDied
from workers.patience import OUTAGES, end, patiently
from workers.place import Place
from workers.settings import WorkerSettings

if TYPE_CHECKING:
    from workers.spans import Spans

_LOG = logging.getLogger("rheostat.worker")
_TICK_S = 0.1
_MAX_BACKOFF_S = 30.0
_HAND_BACK_S = 5.0
"""For an engine, after its time to drain, to hand back what runs; for us, to say goodbye to the queue."""


class Supervisor:
    """One worker, as the world sees it."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self.name = settings.name or f"{socket.gethostname()[:40]}-{secrets.token_hex(3)}"
        self._metrics = WorkerMetrics(lambda: self._nursery.engine_pid)
        self._spans: Spans | None = None
        self._state = WorkerState.STARTING
        self._draining = asyncio.Event()
        self._drain_s = settings.drain_s
        self._engine_name = ""
        self._errands: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Work until told to stop; 0, or 1 if no engine ever became fit or others must restart its ranks."""
        async with self._opened():
            helpers = [
                asyncio.create_task(work)
                for work in (self._watch(), self._keep_leases(), self._announce_regularly())
            ]
            try:
                return await self._raise_engines()
            finally:
                await end(helpers)
                await self._say_farewell()

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        """Signals, board, metrics and connections, closed in reverse order."""
        async with contextlib.AsyncExitStack() as stack:
            board_fd = Board.create()
            stack.callback(os.close, board_fd)
            self._board = Board(board_fd)
            inlet, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            stack.callback(inlet.close)
            stack.callback(outlet.close)
            if self._settings.tracing.endpoint is not None:
                self._spans = self._open_spans()
                stack.push_async_callback(asyncio.to_thread, self._spans.close)
            self._read_meter = listen(inlet, self._metrics, self._spans.hear if self._spans else None)
            stack.callback(asyncio.get_running_loop().remove_reader, inlet.fileno())
            self._nursery = Nursery(self._settings, board_fd, outlet.fileno())
            stack.callback(self._nursery.close)
            if self._settings.metrics_port is not None:
                stack.callback(self._metrics.serve(self._settings.metrics_host, self._settings.metrics_port))
            self._queue = self._make_queue()
            stack.push_async_callback(self._queue.close)
            self._catalog = Catalog(self._queue)
            self._take_signals()
            self._show_state()
            yield

    def _open_spans(self) -> Spans:
        try:
            from workers.spans import Spans
        except ImportError as error:
            raise not_installed(error) from error
        return Spans(self._settings.tracing, self.name)

    def _make_queue(self) -> JobQueue:
        """Not opened: that Redis is away or unsuitable is for the engine to find out."""
        url, settings = self._settings.redis_url, self._settings.queue
        return JobQueue(connect(url, settings.connection), settings)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)

    def _asked_to_stop(self) -> None:
        """Drain; the second time, hand back at once."""
        if self._draining.is_set():
            self._drain_s = 0.0
        self._draining.set()
        self._board.orders = self._board.orders.model_copy(
            update={"draining": True, "drain_s": self._drain_s}
        )
        if self._board.report.state in (WorkerState.STARTING, WorkerState.WARMING):
            self._nursery.kill()

    # -- engine processes, one after another

    async def _raise_engines(self) -> int:
        failed_starts = 0
        while not self._draining.is_set():
            was_ready = await self._raise_one()
            failed_starts = 0 if was_ready else failed_starts + 1
            if self._draining.is_set():
                break
            if Place.from_environment().launched:
                _LOG.error(
                    "%s ends with its engine: whoever has started its ranks starts them again", self.name
                )
                return 1
            if failed_starts >= self._settings.max_failed_starts:
                _LOG.error("%s gives up after %d failed starts", self.name, failed_starts)
                return 1
            if failed_starts:
                await self._pause(self._settings.restart_backoff_s * 2 ** (failed_starts - 1))
        return 0

    async def _raise_one(self) -> bool:
        """One engine process from birth to death; whether it was ever ready."""
        worker = self._engine_name = f"{self.name}.{secrets.token_hex(4)}"
        self._board.report = Report()
        self._board.orders = Orders(draining=self._draining.is_set(), drain_s=self._drain_s)
        self._board.allowed_s = self._settings.warmup_timeout_s
        code: int | str
        try:
            async with asyncio.timeout(self._settings.warmup_timeout_s):
                await self._nursery.start()
            pid = await self._nursery.spawn(worker)
            _LOG.info("engine %s is process %d", worker, pid)
            code = await self._nursery.ended()
        except ZygoteDied:
            code = "lost with its zygote"
        except TimeoutError:
            self._nursery.close()
            code = "its zygote never got ready"
        return self._bury(worker, code)

    def _bury(self, worker: str, code: int | str) -> bool:
        """Settle what a dead engine left: its metrics, its leases."""
        report = self._board.report
        self._board.report = Report(
            state=WorkerState.DRAINING if self._draining.is_set() else WorkerState.STARTING
        )
        self._read_meter()
        was_ready = report.state in (WorkerState.READY, WorkerState.DRAINING)
        asked_for = self._draining.is_set()
        self._metrics.engine_died(None if asked_for else "crash" if was_ready else "unfit")
        if self._spans is not None:
            self._spans.engine_died(time.time())
        self._show_state()
        if code != 0:
            _LOG.warning("engine %s ended (%s) %s", worker, code, report.unfit)
        if asked_for:
            self._run_errand(self._hand_back(worker, report.leases))
        else:
            self._run_errand(self._abandon(worker))
        return was_ready

    async def _abandon(self, worker: str) -> None:
        """Give a dead engine's jobs back, and when their back-off is over ring the bell for them."""
        given_back = await patiently(partial(self._queue.abandon, worker), "abandon")
        if given_back:
            _LOG.warning("%d jobs of %s go back to the queue", given_back, worker)
            await asyncio.sleep(self._settings.queue.backoff_ms / 1000)
            await patiently(self._queue.reap, "reap")

    async def _hand_back(self, worker: str, leases: tuple[Lease, ...]) -> None:
        """Release what an engine held when it was stopped for good; no attempt is counted."""
        for lease in leases:
            key = JobKey(lease.tenant, lease.id)
            await patiently(partial(self._queue.release, key, lease.token), "release")
        await patiently(partial(self._queue.abandon, worker), "abandon")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._draining.wait(), min(seconds, _MAX_BACKOFF_S))

    # -- watching the one that runs

    async def _watch(self) -> None:
        """Each tick: show the engine's state, kill an engine that stands still or drains too long.

        Standing still is counted in ticks of our own, not by the clock: when the whole machine was paused,
        the engine must not be blamed for the time in which nobody ran.
        """
        turns, still_s, drained_s = self._board.turns, 0.0, 0.0
        while True:
            await asyncio.sleep(_TICK_S)
            self._show_state()
            still_s = 0.0 if self._board.turns != turns else still_s + _TICK_S
            drained_s = drained_s + _TICK_S if self._draining.is_set() else 0.0
            turns = self._board.turns
            if self._nursery.engine_pid is None:
                still_s = 0.0
            elif still_s > self._board.allowed_s:
                _LOG.error("the engine stood still for %.1f s and is killed", still_s)
                self._nursery.kill_engine()
            elif drained_s > self._drain_s + _HAND_BACK_S:
                _LOG.error("the engine did not drain in time and is killed")
                self._nursery.kill_engine()

    async def _keep_leases(self) -> None:
        pause_s = self._settings.queue.lease_ttl_ms / 3000
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._renew(self._board.report.leases)
            except OUTAGES as error:
                _LOG.warning("leases not renewed: %s", error)

    async def _renew(self, leases: tuple[Lease, ...]) -> None:
        """Renew, and tell the engine what is not simply `ok`."""
        if not leases or self._nursery.engine_pid is None:
            return
        pairs = [(JobKey(lease.tenant, lease.id), lease.token) for lease in leases]
        answers = await self._queue.renew(self._engine_name, pairs)
        verdicts = tuple(
            (lease, Verdict(answer)) for lease, answer in zip(leases, answers, strict=True) if answer != "ok"
        )
        if verdicts != self._board.orders.verdicts:
            self._board.orders = self._board.orders.model_copy(update={"verdicts": verdicts})

    # -- telling the world

    def _show_state(self) -> None:
        """Take over the engine's state; tell at once if it changed."""
        state = WorkerState.DRAINING if self._draining.is_set() else self._board.report.state
        self._metrics.show_state(state)
        if state is not self._state:
            self._state = state
            _LOG.info("%s is %s", self.name, state)
            self._run_errand(self._announce())

    async def _announce_regularly(self) -> None:
        while True:
            await self._announce()
            await asyncio.sleep(PRESENCE_TTL_S / 3)

    async def _announce(self) -> None:
        try:
            await self._catalog.heartbeat(self.name, self._state, self._board.report.models)
        except OUTAGES as error:
            _LOG.warning("no heartbeat: %s", error)

    def _run_errand(self, work: Coroutine[None, None, None]) -> None:
        """Start `work` beside everything else and keep hold of it."""
        errand = asyncio.create_task(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _say_farewell(self) -> None:
        """Give open errands a bounded time: what they cannot do, the leases' end does."""
        self._nursery.close()
        try:
            async with asyncio.timeout(_HAND_BACK_S):
                await asyncio.gather(*self._errands)
                await self._catalog.leave(self.name)
        except (TimeoutError, *OUTAGES) as error:
            _LOG.warning("%s leaves without a farewell: %s", self.name, error)
