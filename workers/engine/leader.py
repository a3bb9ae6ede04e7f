"""Rank 0's voice: before each turn it tells the other ranks what they need to make the same one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from workers.core import Condition
from workers.engine.job import Flight
from workers.engine.scheduler import TurnPlan
from workers.engine.step_plan import Beat, FreshSample, RowPlan, StepPlan, Stop
from workers.engine.wire import tell
from workers.models import LoadedModel

BEAT_S = 2.0
"""An idle rank 0 speaks this often."""


class RanksApart(RuntimeError):
    """A forward failed among several ranks, which may now stand at different places; none can go on."""


class Leader:
    """Knows which samples the other ranks have. With nobody to lead it says nothing."""

    def __init__(self, *, num_ranks: int) -> None:
        self._alone = num_ranks == 1
        self._known: set[str] = set()
        self._spoke_s = time.monotonic()

    def lead(self, plan: TurnPlan, flying: Sequence[Flight]) -> None:
        """Tell of a turn.

        Args:
            plan: who moves.
            flying: everybody who may move; whom the others know beside them is gone.
        """
        if self._alone:
            return
        fresh = [flight for flight in plan.flights if flight.state.key not in self._known]
        gone = self._known - {flight.state.key for flight in flying}
        word = StepPlan(
            variant=plan.group.variant,
            lora=plan.group.lora,
            rows=tuple(map(_row, plan.flights)),
            fresh=tuple(FreshSample.of(flight.state, _lanes(flight)) for flight in fresh),
            gone=tuple(sorted(gone)),
        )
        tell(word, [tensor for flight in fresh for lane in _lanes(flight) for tensor in lane.tensors])
        self._known = (self._known - gone) | {flight.state.key for flight in fresh}
        self._spoke_s = time.monotonic()

    def beat(self) -> None:
        """Say that there is nothing to do, if nothing was said for a while."""
        if not self._alone and time.monotonic() - self._spoke_s > BEAT_S:
            tell(Beat())
            self._spoke_s = time.monotonic()

    def stop(self) -> None:
        """Let the others end."""
        if not self._alone:
            tell(Stop())


def leader_of(models: Sequence[LoadedModel]) -> Leader:
    """Of those who share these models' forwards.

    Raises:
        ValueError: several models on several ranks.
    """
    num_ranks = max(model.network.layout.ranks.size for model in models)
    if num_ranks > 1 and len(models) > 1:
        raise ValueError("an engine of several ranks serves one model")
    return Leader(num_ranks=num_ranks)


def _row(flight: Flight) -> RowPlan:
    point = flight.job.solver.ask(flight.state)
    assert point is not None, "who flies has somewhere to go"
    return RowPlan(
        key=flight.state.key,
        evaluation=flight.state.evaluation,
        sigma=point.sigma,
        timestep=point.timestep,
    )


def _lanes(flight: Flight) -> tuple[Condition, ...]:
    assert flight.job.conditions is not None, "who flies is encoded"
    return flight.job.conditions
