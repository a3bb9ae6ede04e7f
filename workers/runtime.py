"""The engine process: claim, run turns, publish, commit, drain.

Turns run in a thread of their own, so that claims, events and commits travel while the network computes. The
engine itself is only ever touched by that thread or between its turns.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from protocol import metrics
from protocol.artifacts import ArtifactStore
from protocol.catalog import CatalogEntry
from protocol.errors import ErrorInfo, RheostatError
from protocol.jobqueue import JobQueue
from protocol.receipts import FLOP_PER_TFLOP
from protocol.records import ClaimedJob
from protocol.states import WorkerState
from workers.allowances import Allowances
from workers.auditor import Auditor
from workers.board import Board, Lease, Verdict
from workers.claimer import Claimer, Room
from workers.engine import Engine, EngineEvent
from workers.finisher import Finisher
from workers.given import fetch_image
from workers.meter import Meter
from workers.orders import make_order
from workers.patience import end
from workers.publisher import Publisher
from workers.roster import HeldJob, Roster
from workers.settings import WorkerSettings
from workers.settling import Settler
from workers.side_talk import hear_cancels, tell_memory, tell_speed
from workers.speed import Speedometer
from workers.story import Storyteller

_LOG = logging.getLogger("rheostat.worker")
_REST_S = 0.1
"""An idle engine looks at the board this often, and moves its counter."""
_STALL_FACTOR = 20

T = TypeVar("T")


class Runtime:
    """Everything between the queue and the engine, for one engine process."""

    def __init__(
        self,
        worker: str,
        settings: WorkerSettings,
        *,
        board: Board,
        engine: Engine,
        entries: Sequence[CatalogEntry],
        queue: JobQueue,
        store: ArtifactStore,
        meter: Meter,
        speed: Speedometer,
    ) -> None:
        """Args:
        worker: the name this process claims under.
        entries: of the engine's models, as they stand in the catalog.
        speed: with the warm-up's measurements.
        """
        self._worker = worker
        self._settings = settings
        self._board = board
        self._engine = engine
        self._entries = {entry.name: entry for entry in entries}
        self._queue = queue
        self._store = store
        self._meter = meter
        self._speed = speed
        self._roster = Roster(board)
        self._publisher = Publisher(
            queue, settings.publish_every_s, lambda job: self._decide(job, Verdict.LOST)
        )
        self._story = Storyteller(meter, on=settings.tracing.endpoint is not None)
        self._auditor = Auditor(settings.audit, self._entries, engine=engine, store=store, meter=meter)
        self._finisher = Finisher(
            queue,
            store,
            publisher=self._publisher,
            meter=meter,
            roster=self._roster,
            story=self._story,
            auditor=self._auditor,
        )
        self._settler = Settler(
            self._roster,
            publisher=self._publisher,
            finisher=self._finisher,
            meter=meter,
            story=self._story,
            auditor=self._auditor,
            end_by=self._end_by,
        )
        self._claimer = Claimer(queue, worker, tuple(self._entries), self._room, self._take)
        self._thread = ThreadPoolExecutor(1, "engine")
        self._something_to_do = asyncio.Event()
        self._orders_number = -1
        self._hand_back_at: float | None = None
        self._free_bytes = engine.free_bytes
        self._allowances = Allowances.of(entries, settings, self._free_bytes)

    async def run(self) -> None:
        """Serve until drained."""
        self._board.allowed_s = self._settings.step_timeout_s
        self._roster.become(WorkerState.READY, tuple(self._entries))
        async with asyncio.TaskGroup() as group:
            claims = group.create_task(self._claimer.run())
            helpers = [
                group.create_task(work)
                for work in (
                    self._publisher.run(),
                    hear_cancels(self._queue, self._worker, self._hear_cancel),
                    tell_speed(self._queue, self._entries, self._speed, self._meter),
                    tell_memory(lambda: self._free_bytes, self._meter),
                )
            ]
            await self._serve(claims)
            await end(helpers)
        self._auditor.stop()
        self._meter.flush()

    async def _serve(self, claims: asyncio.Task[None]) -> None:
        while not (claims.done() and not self._roster):
            self._board.beat()
            self._finisher.check()
            self._obey()
            await self._admit()
            self._free_bytes = self._engine.free_bytes  # a claim may ask while the engine's thread is busy
            self._claimer.look_again()
            if self._engine.idle:
                await self._rest()
                await self._in_thread(self._engine.leader.beat)
            else:
                self._settle(await self._turn())
            self._auditor.look(busy=bool(self._roster))
            self._meter.flush()

    # -- work comes in

    def _room(self) -> Room:
        """What may be claimed now: nothing while jobs wait for their admission, or one must run alone."""
        held = tuple(self._roster)
        rooms = self._allowances.rooms(job.model for job in held)
        full = any(job.order is None or job.claimed.solo for job in held)
        most = 0 if full else min(self._settings.claim_batch, max(room.jobs for room in rooms.values()))
        return Room(most, self._free_bytes, idle=not held, models=rooms)

    def _take(self, claimed: tuple[ClaimedJob, ...]) -> None:
        taken = self._roster.hold(claimed)
        if self._hand_back_at is not None:
            self._hand_back_what_waits()
        for job in taken:
            self._story.begin(job)
            age_s = max(0.0, time.time() - job.claimed.created_ms / 1000)
            self._meter.add(metrics.QUEUE_SECONDS, age_s, job.model, trace_id=job.trace_id)
            if job.claimed.attempt > 1:
                self._meter.add(metrics.ATTEMPTS, 1, job.model, "crash")
        self._something_to_do.set()

    async def _admit(self) -> None:
        """Bring claimed jobs into the engine; end those that cannot run or are not to."""
        for job in self._roster:
            if job.order is not None or job.ending:
                continue
            if job.fate is not None:
                self._end_by(job, job.fate)
                continue
            try:
                await self._start(job)
            except RheostatError as error:
                self._finisher.fail(job, error.info)
            except Exception as error:
                _LOG.exception("the job cannot be started", extra=job.log_ids)
                self._finisher.fail(
                    job, ErrorInfo(code="job_failed", message=f"{type(error).__name__} at the start")
                )

    async def _start(self, job: HeldJob) -> None:
        """Put a job into the engine, unless its samples must wait until others have ended."""
        order = make_order(job.claimed, self._entries[job.model])
        if self._engine.busy and not self._engine.can_admit(job.claimed.request):
            return
        image = await fetch_image(self._store, job.claimed.request)
        job.order, name = order, job.lease_name
        job.engine_id = await self._in_thread(
            lambda: self._engine.add(job.claimed.request, plan=order.plan, key=name, image=image)
        )

    # -- turns

    async def _turn(self) -> list[EngineEvent]:
        tflops, slowest = self._roster.turn_tflops + self._auditor.turn_tflops, self._speed.slowest()
        predicted_s = tflops / slowest if slowest else 0.0
        self._board.allowed_s = max(self._settings.step_timeout_s, _STALL_FACTOR * predicted_s)
        before = self._engine.last_turn
        events = list(await self._in_thread(self._engine.step))
        turn = self._engine.last_turn
        if turn is not None and turn is not before:
            error = self._speed.add(turn.model, turn.flop / FLOP_PER_TFLOP, turn.seconds)
            self._meter.add(metrics.BATCH_ROWS, turn.rows, turn.model)
            if error is not None:
                self._meter.add(metrics.COST_ERROR, error, turn.model)
        return events

    def _settle(self, events: Sequence[EngineEvent]) -> None:
        self._settler.settle(events)
        running = self._engine.running
        for model in self._entries:
            self._meter.add(metrics.RUNNING_SAMPLES, running.get(model, 0), model)

    async def _rest(self) -> None:
        """Nothing to compute: wait for work, but never long enough to seem dead."""
        self._something_to_do.clear()
        try:
            async with asyncio.timeout(_REST_S):
                await self._something_to_do.wait()
        except TimeoutError:
            pass

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- what others want

    def _obey(self) -> None:
        """Read the supervisor's orders if there are new ones, and do what is decided."""
        if self._board.orders_number != self._orders_number:
            self._orders_number = self._board.orders_number
            orders = self._board.orders
            for lease, verdict in orders.verdicts:
                self._hear_verdict(lease, verdict)
            if orders.draining:
                self._drain(orders.drain_s)
        if self._hand_back_at is not None and time.monotonic() >= self._hand_back_at:
            for job in self._roster:
                self._decide(job, Verdict.PREEMPT)
        for job in self._roster:
            if job.fate is not None and not job.ending and job.engine_id is not None:
                self._engine.cancel(job.engine_id)
                self._end_by(job, job.fate)

    def _drain(self, drain_s: float) -> None:
        """Claim no more; what has not begun goes back at once, what runs on past `drain_s` then."""
        self._claimer.stop()
        self._roster.become(WorkerState.DRAINING)
        at = time.monotonic() + drain_s
        self._hand_back_at = at if self._hand_back_at is None else min(at, self._hand_back_at)
        self._hand_back_what_waits()

    def _hand_back_what_waits(self) -> None:
        for job in self._roster:
            if job.order is None:
                self._decide(job, Verdict.PREEMPT)

    def _hear_cancel(self, name: str) -> None:
        if (job := self._roster.get(name)) is not None:
            self._decide(job, Verdict.CANCEL)

    def _hear_verdict(self, lease: Lease, verdict: Verdict) -> None:
        job = self._roster.get(f"{lease.tenant}/{lease.id}")
        if job is not None and job.claimed.token == lease.token:
            self._decide(job, verdict)

    def _decide(self, job: HeldJob, fate: Verdict) -> None:
        """Note what is to become of a job; between turns it happens.

        `lost` outweighs all, `cancel` a hand-back.
        """
        order = (None, Verdict.PREEMPT, Verdict.CANCEL, Verdict.LOST)
        if order.index(fate) > order.index(job.fate):
            job.fate = fate
            self._something_to_do.set()

    def _end_by(self, job: HeldJob, fate: Verdict) -> None:
        if fate is Verdict.LOST:
            self._finisher.let_go(job)
        elif fate is Verdict.CANCEL:
            self._finisher.cancel(job)
        else:
            self._finisher.hand_back(job, "drain" if self._hand_back_at is not None else "preempt")
