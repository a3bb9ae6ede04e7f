"""The engine's side of the metrics: amounts gathered in a turn, sent to the supervisor as one datagram.

The supervisor owns the registry, so counters outlive an engine process that crashes, and so it alone can say
what a crash wasted: the steps it was told of whose job was never told to have ended.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from protocol import metrics
from protocol.metrics import Metric
from protocol.receipts import StepLine
from workers.told import Told

Waste = Literal["crash", "warmup", "audit", "discarded"]
_MAX_AMOUNTS = 256
"""Of each kind in one datagram: about 150 kB, below the 200 kB that Linux lets through."""


class Amount(BaseModel):
    """`value` added to a counter, observed by a histogram or set on a gauge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    labels: tuple[str, ...]
    value: float
    trace_id: str | None = None
    """Becomes the exemplar of a counter or histogram."""


class Work(BaseModel):
    """One evaluation a job spent, not settled before the job ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    model: str
    action: str
    tflops: float
    seconds: float
    blocks_run: int
    blocks_total: int
    trace_id: str | None = None


class Expected(BaseModel):
    """A model this worker serves: its series stand at zero before its first job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    budgets: tuple[str, ...] = ()


class Settled(BaseModel):
    """A job ended: its steps stand in a receipt (`waste` None), or nobody is billed for them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    waste: Waste | None = None


class Dispatch(BaseModel):
    """One datagram."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected: tuple[Expected, ...] = ()
    amounts: tuple[Amount, ...] = ()
    work: tuple[Work, ...] = ()
    settled: tuple[Settled, ...] = ()
    told: tuple[Told, ...] = ()


class Meter:
    """Gathers amounts; `flush` sends them without ever waiting for the supervisor."""

    def __init__(self, outlet: socket.socket) -> None:
        """Args:
        outlet: one end of a datagram socket pair.
        """
        outlet.setblocking(False)
        self._outlet = outlet
        self._expected: list[Expected] = []
        self._amounts: list[Amount] = []
        self._work: list[Work] = []
        self._settled: list[Settled] = []
        self._told: list[Told] = []

    def expect(self, model: str, budgets: Sequence[str] = ()) -> None:
        """Note that `model` is served. `budgets`: its calibrated points, as `budget_label` writes them."""
        self._expected.append(Expected(model=model, budgets=tuple(budgets)))

    def add(self, metric: Metric, value: float, *labels: str, trace_id: str | None = None) -> None:
        """Note `value` for a counter (to add), a histogram (to observe) or a gauge (to set)."""
        self._amounts.append(Amount(metric=metric.name, labels=labels, value=value, trace_id=trace_id))

    def step(self, job: str, model: str, line: StepLine, trace_id: str | None = None) -> None:
        """Note one evaluation of `job`, unsettled until `settle`, and what its method decided by."""
        counted = line.model_dump(include={"action", "tflops", "seconds", "blocks_run", "blocks_total"})
        self._work.append(Work(job=job, model=model, trace_id=trace_id, **counted))
        if line.risk is not None:
            self.add(metrics.CACHE_RISK, line.risk, model)
        if line.threshold is not None:
            self.add(metrics.CONTROLLER_THRESHOLD, line.threshold, model)

    def settle(self, job: str, waste: Waste | None = None) -> None:
        """Note that `job` ended, and under which name its steps are wasted if they are."""
        self._settled.append(Settled(job=job, waste=waste))

    def tell(self, told: Told) -> None:
        """Note what stands in a job's trace; sent in the order in which it came."""
        self._told.append(told)

    def flush(self) -> None:
        """Send what was gathered; what the socket does not take stays for the next time."""
        while self._expected or self._amounts or self._work or self._settled or self._told:
            dispatch = Dispatch(
                expected=tuple(self._expected[:_MAX_AMOUNTS]),
                amounts=tuple(self._amounts[:_MAX_AMOUNTS]),
                work=tuple(self._work[:_MAX_AMOUNTS]),
                settled=() if len(self._work) > _MAX_AMOUNTS else tuple(self._settled[:_MAX_AMOUNTS]),
                told=tuple(self._told[:_MAX_AMOUNTS]),
            )
            try:
                self._outlet.send(dispatch.model_dump_json().encode())
            except (BlockingIOError, ConnectionError):
                return
            del self._expected[: len(dispatch.expected)]
            del self._amounts[: len(dispatch.amounts)]
            del self._work[: len(dispatch.work)]
            del self._settled[: len(dispatch.settled)]
            del self._told[: len(dispatch.told)]
