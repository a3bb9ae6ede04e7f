"""Who moves at this turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from workers.engine.job import Flight, GroupKey
from workers.engine.settings import EngineSettings
from workers.engine.sizing import BatchSizes


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """The flights that share the next forward."""

    group: GroupKey
    flights: tuple[Flight, ...]

    @property
    def rows(self) -> int:
        """Lanes of the forward."""
        return sum(flight.state.num_lanes for flight in self.flights)


class Scheduler:
    """One group a turn, as many of its rows as pay.

    Groups share time: the one that has had the fewest seconds a row moves next; a group that comes back from
    idling starts level with the others, so it cannot claim the time it did not want. In a group the oldest go
    first, so that where batching does not pay pictures come out one after another and not all at the end; who
    was passed over `max_wait_turns` times goes before all.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._sizes: dict[GroupKey, BatchSizes] = {}
        self._seconds: dict[GroupKey, float] = {}

    def plan(self, ready: Sequence[Flight]) -> TurnPlan | None:
        """The next turn, or None when nobody is ready. Counts the turn for those it passes over."""
        groups: dict[GroupKey, list[Flight]] = defaultdict(list)
        for flight in ready:
            groups[flight.group].append(flight)
        if not groups:
            return None
        group = self._next_group(list(groups))
        chosen = self._choose(group, groups[group])
        for flight in groups[group]:
            flight.passed_over = 0 if flight in chosen else flight.passed_over + 1
        return TurnPlan(group, chosen)

    def record(self, plan: TurnPlan, seconds: float, *, whole: bool) -> None:
        """What a turn took; `whole` if every row ran every block, so the time says what its size costs."""
        self._seconds[plan.group] += seconds / len(plan.flights)
        if whole:
            self.sizes(plan.group).record(plan.rows, seconds)

    def sizes(self, group: GroupKey) -> BatchSizes:
        """The group's batch sizes."""
        if group not in self._sizes:
            self._sizes[group] = BatchSizes(
                max_rows=self._settings.max_rows,
                min_gain=self._settings.min_batch_gain,
                explore_turns=self._settings.explore_turns,
            )
        return self._sizes[group]

    def _next_group(self, groups: Sequence[GroupKey]) -> GroupKey:
        level = min((self._seconds[group] for group in groups if group in self._seconds), default=0.0)
        self._seconds = {group: self._seconds.get(group, level) for group in groups}
        return min(groups, key=self._seconds.__getitem__)

    def _choose(self, group: GroupKey, flights: list[Flight]) -> tuple[Flight, ...]:
        """Whole samples, first come first, while their lanes fit the size that pays."""
        patience = self._settings.max_wait_turns
        flights.sort(key=lambda flight: (flight.passed_over < patience, flight.arrival))
        size = self.sizes(group).pick(sum(flight.state.num_lanes for flight in flights))
        chosen: list[Flight] = []
        rows = 0
        for flight in flights:
            if chosen and rows + flight.state.num_lanes > size:
                break
            chosen.append(flight)
            rows += flight.state.num_lanes
        return tuple(chosen)
