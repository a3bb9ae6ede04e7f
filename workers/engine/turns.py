"""Turns of several models, each begun, laid aside and gone on with by itself."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from workers.engine.job import Flight, Job
from workers.engine.leader import Leader
from workers.engine.results import TurnReport
from workers.engine.scheduler import Scheduler
from workers.engine.settings import EngineSettings
from workers.engine.turn import Turn, TurnOutcome
from workers.models import LoadedModel


class Turns:
    """At most one open turn a model. With one model only turns in the background are ever laid aside.

    Args:
        models: by name.
        settings: of the engine.
        leader: tells other ranks, if there are any, of every turn.
    """

    def __init__(self, models: Mapping[str, LoadedModel], settings: EngineSettings, leader: Leader) -> None:
        self._models = models
        self._leader = leader
        self._settings = settings
        self._slice_s = settings.slice_s if len(models) > 1 else math.inf
        self._schedulers = {name: Scheduler(settings) for name in models}
        self._open: dict[str, Turn] = {}
        self.last: TurnReport | None = None
        """The last turn that ended."""

    def advance(self, name: str, flying: Sequence[Flight]) -> TurnOutcome | None:
        """Go on with the model's turn, or begin one.

        Args:
            flying: the model's flights that may move.

        Returns:
            What came of the turn if it has ended.
        """
        turn = self._open.pop(name, None) or self._begin(name, flying)
        if turn is None:
            return None
        outcome = turn.run(self._settings.slice_s if _in_background(turn) else self._slice_s)
        if outcome is None:
            self._open[name] = turn
            return None
        scheduler, plan = self._schedulers[name], turn.plan
        scheduler.record(plan, outcome.seconds, whole=outcome.whole)
        if outcome.overfull:
            scheduler.sizes(plan.group).shrink(plan.rows)
        self.last = TurnReport(name, len(plan.flights), outcome.seconds, outcome.flop)
        return outcome

    def forget(self, model: str, jobs: Collection[Job]) -> None:
        """Give up the model's open turn if none of these jobs is in it."""
        turn = self._open.get(model)
        if turn is not None and not any(flight.job in jobs for flight in turn.plan.flights):
            del self._open[model]

    def give_up_background(self) -> None:
        """Drop open turns that run in the background, with what they hold; they can be begun again."""
        self._open = {name: turn for name, turn in self._open.items() if not _in_background(turn)}

    def _begin(self, name: str, flying: Sequence[Flight]) -> Turn | None:
        plan = self._schedulers[name].plan(flying)
        if plan is None:
            return None
        self._leader.lead(plan, flying)
        previews = 0 if plan.flights[0].job.background else self._settings.preview_every
        return Turn(self._models[name], plan, self._settings.max_forecasts, previews)


def _in_background(turn: Turn) -> bool:
    """Whether the turn is of jobs in the background: they never share one with others."""
    return turn.plan.flights[0].job.background
