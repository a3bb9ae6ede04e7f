"""Where an engine's flights are: waiting for room, flying, or waiting for their decoder."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from itertools import takewhile

from workers.engine.job import Flight, Job


class Flights:
    """All flights of an engine, in the order in which they came.

    Args:
        max_samples: in flight at once.
        memory_bytes: what they may hold.
    """

    def __init__(self, max_samples: int, memory_bytes: int) -> None:
        self._max_samples = max_samples
        self._memory_bytes = memory_bytes
        self._waiting: deque[Flight] = deque()
        self._flying: list[Flight] = []
        self._landing: deque[Flight] = deque()

    @property
    def _up(self) -> list[Flight]:
        return self._served((*self._flying, *self._landing))

    @property
    def up(self) -> Counter[str]:
        """Samples in flight, by model, those in the background aside."""
        return Counter(flight.job.model.name for flight in self._up if not flight.job.background)

    @property
    def urgent(self) -> bool:
        """Whether anybody is here who is not in the background."""
        here = (*self._waiting, *self._flying, *self._landing)
        return any(not flight.job.background for flight in here)

    def _served(self, flights: Iterable[Flight]) -> list[Flight]:
        """Of these, who counts now: those in the background only while there are no others."""
        urgent = self.urgent
        return [flight for flight in flights if not (urgent and flight.job.background)]

    def queue(self, flights: Iterable[Flight]) -> None:
        """Let them wait for room."""
        self._waiting.extend(flights)

    def fitting(self) -> list[Flight]:
        """Who may take off now: of those who wait as many as fit, first come first, whatever their model."""
        up = self._up
        places, free = self._max_samples - len(up), self._memory_bytes - sum(flight.bytes for flight in up)

        def fits(flight: Flight) -> bool:
            nonlocal places, free
            places, free = places - 1, free - flight.bytes
            return places >= 0 and free >= 0

        return list(takewhile(fits, self._served(self._waiting)))

    def flying(self, model: str) -> list[Flight]:
        """The model's flights between two turns."""
        return [flight for flight in self._served(self._flying) if flight.job.model.name == model]

    def landing(self, model: str) -> list[Flight]:
        """The model's flights that wait for their decoder."""
        return [flight for flight in self._served(self._landing) if flight.job.model.name == model]

    def take_off(self, flight: Flight) -> None:
        """It waits no more: it has its noise."""
        self._waiting.remove(flight)
        self._flying.append(flight)

    def approach(self, flight: Flight) -> None:
        """It is denoised."""
        self._flying.remove(flight)
        self._landing.append(flight)

    def land(self, flight: Flight) -> None:
        """It is decoded."""
        self._landing.remove(flight)

    def forget(self, job: Job) -> None:
        """Take a job's flights out wherever they are."""
        self._waiting = deque(flight for flight in self._waiting if flight.job is not job)
        self._flying = [flight for flight in self._flying if flight.job is not job]
        self._landing = deque(flight for flight in self._landing if flight.job is not job)

    def sizes(self) -> dict[str, int]:
        """Of every model that has something to do, what its smallest sample was granted, in FLOP."""
        found: dict[str, int] = {}
        for flight in (*self.fitting(), *self._up):
            name, size = flight.job.model.name, flight.job.plan.granted_flop
            found[name] = min(size, found.get(name, size))
        return found
