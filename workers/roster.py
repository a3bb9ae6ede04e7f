"""The jobs an engine process holds, mirrored on the board so that the supervisor renews exactly these."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from protocol.cost import Price
from protocol.logs import of_job
from protocol.plan import Plan
from protocol.receipts import FLOP_PER_TFLOP, Totals
from protocol.records import ClaimedJob
from protocol.states import WorkerState
from protocol.tracing import exemplar, trace_ids
from workers.board import Board, Lease, Report, Verdict


@dataclass(frozen=True, slots=True)
class Order:
    """How a claimed job runs: its price, its plan, and what its prompts and one decode cost beside it.

    `text_tflops` are its image's as well, if it starts from one; `fps` is the model's, None if it makes no
    videos.
    """

    price: Price
    plan: Plan
    text_tflops: float
    decode_tflops: float
    fps: float | None = None

    @property
    def turn_flop(self) -> int:
        """At most what one turn can cost: a step of every sample, encoders and decoder."""
        samples = self.price.full_flop // sum(self.price.per_step_flop)
        return samples * max(self.price.per_step_flop) + self.price.other_flop


@dataclass(slots=True)
class HeldJob:
    """One job under lease, from claim to commit.

    Attributes:
        order: None until it is admitted.
        engine_id: its name in the engine while it runs there.
        fate: what came from outside: cancel, hand back, or lost; None: go on.
        ending: somebody commits it or hands it back at this moment.
        trace_id: of the trace it belongs to, 32 hex digits; metrics name it as an exemplar.
    """

    claimed: ClaimedJob
    order: Order | None = None
    engine_id: str | None = None
    fate: Verdict | None = None
    ending: bool = False
    trace_id: str | None = None
    steps_done: int = 0
    spent_tflops: float = 0.0
    other_tflops: float = 0.0
    since_s: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        return str(self.claimed.key)

    @property
    def lease_name(self) -> str:
        """Names this lease of the job, in the engine and in its trace."""
        return f"{self.name}#{self.claimed.token}"

    @property
    def log_ids(self) -> dict[str, str]:
        """What log lines about it carry."""
        return {**of_job(self.name), **trace_ids(self.claimed.trace)}

    @property
    def model(self) -> str:
        return self.claimed.request.model

    @property
    def lease(self) -> Lease:
        return Lease(self.claimed.key.tenant, self.claimed.key.id, self.claimed.token)

    @property
    def running(self) -> Order:
        """The order of a job that was admitted."""
        assert self.order is not None, "only admitted jobs are in the engine"
        return self.order

    @property
    def totals(self) -> Totals | None:
        """The account of a job that is stopped before its end; None if it never began."""
        if self.order is None:
            return None
        full_tflops = self.order.price.full_tflops
        return Totals(
            budget=self.claimed.request.compute_budget.share_of(self.claimed.full_mflop),
            granted=self.order.plan.granted,
            spent=self.spent_tflops / full_tflops,
            full_tflops=full_tflops,
            tflops=self.spent_tflops,
            other_tflops=self.other_tflops,
            nfe=self.steps_done,
            wall_s=time.monotonic() - self.since_s,
        )


class Roster:
    """All held jobs by name, and what the engine process says of itself on the board."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._jobs: dict[str, HeldJob] = {}
        self._state = WorkerState.WARMING
        self._models: tuple[str, ...] = ()
        self._show()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[HeldJob]:
        return iter(tuple(self._jobs.values()))

    def get(self, name: str) -> HeldJob | None:
        return self._jobs.get(name)

    def in_engine(self, engine_id: str) -> HeldJob | None:
        """The job that runs in the engine under this id, unless its end has begun."""
        return next((job for job in self if job.engine_id == engine_id and not job.ending), None)

    def hold(self, claimed: tuple[ClaimedJob, ...]) -> list[HeldJob]:
        """Take jobs on; from now on their leases are renewed."""
        taken = [
            HeldJob(
                one,
                fate=Verdict.CANCEL if one.cancel else None,
                trace_id=exemplar(one.trace),
            )
            for one in claimed
        ]
        self._jobs.update((job.name, job) for job in taken)
        self._show()
        return taken

    def drop(self, job: HeldJob) -> None:
        """Let a job go: committed, handed back or lost."""
        if self._jobs.get(job.name) is job:
            del self._jobs[job.name]
            self._show()

    def become(self, state: WorkerState, models: tuple[str, ...] | None = None) -> None:
        """Say how the engine process is, and what it serves."""
        self._state = state
        self._models = self._models if models is None else models
        self._show()

    @property
    def turn_tflops(self) -> float:
        """At most what one turn of all jobs costs."""
        return sum(job.order.turn_flop for job in self if job.order is not None) / FLOP_PER_TFLOP

    def _show(self) -> None:
        leases = tuple(job.lease for job in self)
        self._board.report = Report(state=self._state, leases=leases, models=self._models)
