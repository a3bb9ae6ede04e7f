"""One shared forward and its account; a row that fails takes nobody with it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from protocol.errors import JobFailed, OutOfMemory, SampleFailed
from protocol.logs import of_job
from protocol.receipts import FLOP_PER_TFLOP, Action, StepLine
from workers.core import Point
from workers.engine.forward import Forward
from workers.engine.job import Flight
from workers.engine.leader import RanksApart
from workers.engine.previews import can_show, estimate, is_due
from workers.engine.scheduler import TurnPlan
from workers.engine.tracks import Outcome, guided_output
from workers.models import LoadedModel, network_of

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Move:
    """One evaluation of one flight, on its account."""

    flight: Flight
    line: StepLine
    spent_flop: int


@dataclass(slots=True)
class _Done:
    """An evaluation whose seconds are not known before the turn's end."""

    flight: Flight
    index: int
    outcome: Outcome
    spent_flop: int


@dataclass(slots=True)
class TurnOutcome:
    """What a turn did. `overfull` says that the rows did not fit into memory together."""

    moves: list[Move] = field(default_factory=list)
    failures: list[tuple[Flight, JobFailed]] = field(default_factory=list)
    seconds: float = 0.0
    flop: int = 0
    whole: bool = False
    overfull: bool = False


class Turn:
    """Runs one turn plan, in one go or in slices.

    Args:
        model: of the plan's group.
        plan: who moves.
        max_forecasts, preview_every: see `EngineSettings`.
    """

    def __init__(
        self, model: LoadedModel, plan: TurnPlan, max_forecasts: int, preview_every: int = 0
    ) -> None:
        self._model = model
        self._plan = plan
        self._preview_every = preview_every
        self._flights = {flight.state.key: flight for flight in plan.flights}
        self._network = network_of(model, plan.group.variant)
        self._forward = Forward(self._network, self._settle, max_forecasts)
        self._done: list[_Done] = []
        self._result = TurnOutcome()
        self._blocks = self._move(plan.flights)
        self._seconds = 0.0

    @property
    def plan(self) -> TurnPlan:
        """Who moves."""
        return self._plan

    def run(self, slice_s: float = math.inf) -> TurnOutcome | None:
        """Move the plan's flights together; if that raises, one by one to find out whose fault it was.

        Args:
            slice_s: after so long the forward is laid aside at the end of a block; the next call goes on.

        Returns:
            What came of it; None: there are blocks left.

        Raises:
            RanksApart: it failed among several ranks.
        """
        started = time.perf_counter()
        self._model.use_lora(self._plan.group.lora)
        try:
            ended = self._go_on(started + slice_s)
        except Exception as error:
            if self._network.layout.ranks.size > 1:
                raise RanksApart("a forward failed") from error
            self._result.overfull = len(self._plan.flights) > 1 and _out_of_memory(error)
            self._move_singly([flight for flight in self._plan.flights if not self._ran(flight)])
            ended = True
        self._wait_for_device()
        self._seconds += time.perf_counter() - started
        if not ended:
            return None
        self._account(self._seconds)
        return self._result

    def _go_on(self, until_s: float) -> bool:
        """Run blocks until the time is up; whether none is left."""
        for _ in self._blocks:
            if math.isfinite(until_s):
                self._wait_for_device()
            if time.perf_counter() >= until_s:
                return False
        return True

    def _wait_for_device(self) -> None:
        """Have queued work done, so that a clock read next tells of it."""
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)

    def _move(self, flights: Sequence[Flight]) -> Iterator[None]:
        wanted = []
        for flight in flights:
            point = flight.job.solver.ask(flight.state)
            if point is not None:
                wanted.append((flight.state, point))
        if wanted:
            yield from self._forward.blocks(wanted)

    def _move_singly(self, flights: Sequence[Flight]) -> None:
        for flight in flights:
            try:
                for _ in self._move([flight]):
                    pass
            except Exception as error:
                where = (flight.index, flight.state.evaluation)
                _LOG.exception("sample %d failed at evaluation %d", *where, extra=of_job(flight.job.id))
                self._result.failures.append((flight, _failure(error)))

    def _ran(self, flight: Flight) -> bool:
        """Whether the network ran for it in this turn, so that it has had its move."""
        return any(done.flight is flight and done.outcome.work.head for done in self._done)

    def _settle(self, outcome: Outcome) -> Point | None:
        """Guide and step one sample; its next point."""
        sample = outcome.sample
        flight = self._flights[sample.key]
        sample.ledger.spend(outcome.work.flop, outcome.work.action, sample.num_lanes)
        self._done.append(_Done(flight, sample.evaluation, outcome, sample.ledger.spent_flop))
        guided = guided_output(outcome, self._network.layout.ranks)
        if is_due(sample.evaluation, self._preview_every) and can_show(self._network.layout):
            point = flight.job.solver.ask(sample)
            assert point is not None, "it was just evaluated"
            flight.estimate = estimate(point, guided)
        try:
            flight.job.solver.tell(sample, guided)
        except Exception as error:
            # Its evaluation is booked, and asked again it would fail again.
            _LOG.exception(
                "a sample cannot go on from evaluation %d", sample.evaluation, extra=of_job(flight.job.id)
            )
            self._result.failures.append((flight, _failure(error)))
            return None
        return flight.job.solver.ask(sample)

    def _account(self, seconds: float) -> None:
        """Share the turn's seconds out by FLOP, evenly where nothing ran, and book every evaluation."""
        result, works = self._result, [done.outcome.work for done in self._done]
        result.seconds, result.flop = seconds, sum(work.flop for work in works)
        result.whole = (
            not result.failures
            and not result.overfull
            and len(works) == len(self._plan.flights)
            and all(work.action is Action.FULL for work in works)
        )
        for done in self._done:
            share = done.outcome.work.flop / result.flop if result.flop else 1 / len(works)
            result.moves.append(self._book(done, seconds * share))

    def _book(self, done: _Done, seconds: float) -> Move:
        sample, work = done.flight.state, done.outcome.work
        line = StepLine(
            index=done.index,
            action=work.action,
            blocks_run=work.blocks_run,
            blocks_total=self._network.layout.num_blocks,
            tflops=work.flop / FLOP_PER_TFLOP,
            seconds=seconds,
            risk=work.risk,
            threshold=work.threshold,
            reason=work.reason,
        )
        sample.ledger.add(line)
        return Move(done.flight, line, done.spent_flop)


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _failure(error: Exception) -> JobFailed:
    """What the caller may know of it; the rest is in the log."""
    if _out_of_memory(error):
        return OutOfMemory("the sample does not fit into the device's memory")
    return SampleFailed(f"the sample could not be computed ({type(error).__name__})")
