"""Whose turn it is where several models want one: shares of the clock, smallest jobs first."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf

_NEXT_TO_NOTHING = 1e-9


class Shares:
    """Every model's credit, in seconds of the engine.

    Every model earns by the clock, in proportion to its weight, whether it works or not; one without work
    saves up to `burst_s`, and what it then leaves goes to the others. What a model does is charged to it as
    it was measured. Of the models that have credit the one with the smallest jobs goes next; where none has,
    the one that owes least. So a model that needs less than its share hardly notices the others, one that
    wants more gets its share and what they leave, and the others wait for it until its savings are gone.

    Args:
        weights: of every model, above 0.
        burst_s: see `EngineSettings`.
        clock: seconds that never go back.
    """

    def __init__(
        self, weights: Mapping[str, float], burst_s: float, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._weights = dict(weights)
        self._burst_s = burst_s
        self._clock = clock
        self._credit_s = dict.fromkeys(weights, 0.0)
        self._wanting: frozenset[str] = frozenset()
        self._earned_until = clock()

    @property
    def credit_s(self) -> Mapping[str, float]:
        """What every model may take before others go first; below 0: what it owes."""
        return dict(self._credit_s)

    def next(self, sizes: Mapping[str, float]) -> str | None:
        """The model to work for now; None if there is no work.

        Args:
            sizes: of the models with work, their smallest job's, all in one unit.
        """
        self._earn(())
        self._wanting = frozenset(sizes)
        credit = self._credit_s
        able = [name for name in sizes if credit[name] > 0]
        if able:
            return min(able, key=lambda name: (sizes[name], -credit[name]))
        return max(sizes, key=credit.__getitem__, default=None)

    def charge(self, name: str, seconds: float) -> None:
        """The model's work took so long. It is taken off before that time is given out: a debt earns, too."""
        self._credit_s[name] -= seconds
        self._earn(self._wanting)

    def _earn(self, wanting: Collection[str]) -> None:
        """Give out the time since the last call; what fills a model up goes round again.

        Args:
            wanting: had work all that time, and so are never full: who is kept waiting must gain on the rest.
        """
        now = self._clock()
        left, self._earned_until = now - self._earned_until, now
        room = {
            name: inf if name in wanting else self._burst_s - self._credit_s[name] for name in self._weights
        }
        while left > _NEXT_TO_NOTHING and (open_ := [name for name in room if room[name] > _NEXT_TO_NOTHING]):
            total, given = sum(self._weights[name] for name in open_), 0.0
            for name in open_:
                taken = min(left * self._weights[name] / total, room[name])
                room[name] -= taken
                self._credit_s[name] += taken
                given += taken
            left -= given


def weights_of(names: Iterable[str], given: Mapping[str, float]) -> dict[str, float]:
    """The weight of every model: the given one, else 1.

    Raises:
        ValueError: one is given for a model that is not there.
    """
    weights = dict.fromkeys(names, 1.0)
    if unknown := given.keys() - weights.keys():
        raise ValueError(f"weights for {', '.join(sorted(unknown))}, not among {', '.join(sorted(weights))}")
    return weights | dict(given)
