"""What each model may still claim, so that the others a worker serves find room when their jobs come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from protocol.catalog import CatalogEntry
from protocol.cost.memory import sample_bytes
from protocol.jobs import GenerationInput, GenerationRequest
from protocol.records import ModelRoom
from protocol.resolve import resolve
from workers.settings import WorkerSettings


class Allowances:
    """Places and memory that jobs of one model leave to the others.

    A model that holds fewer jobs than are kept for it is owed the rest: no other model may take them, be it
    idle or not. Memory is kept by samples of the models' default sizes, in whole ones: where the part kept
    for a model would not hold one, none is kept, and that model waits for its turn as a large job does.

    Args:
        sample_bytes: of every model served, one of its default samples.
        places: jobs held at once.
        memory_bytes: for samples, all there is.
        share: of both, what is kept for the other models together.
    """

    def __init__(
        self, sample_bytes: Mapping[str, int], *, places: int, memory_bytes: int, share: float
    ) -> None:
        self._places = places
        others = len(sample_bytes) - 1
        keeps = share > 0 and 0 < others < places
        self._kept_places = max(1, int(places * share / others)) if keeps else 0
        part = memory_bytes * share / others if keeps else 0.0
        self._bytes = dict(sample_bytes)
        self._kept_samples = {name: int(part // each) for name, each in sample_bytes.items()}

    @classmethod
    def of(cls, entries: Iterable[CatalogEntry], settings: WorkerSettings, memory_bytes: int) -> Self:
        """As a worker's settings say."""
        return cls(
            {entry.name: default_sample_bytes(entry) for entry in entries},
            places=settings.max_running_jobs,
            memory_bytes=memory_bytes,
            share=settings.keep_for_others,
        )

    def rooms(self, held: Iterable[str]) -> dict[str, ModelRoom]:
        """What every model may take now.

        Args:
            held: the models of the jobs held, one entry a job.
        """
        jobs: Sequence[str] = tuple(held)
        owed = {name: max(0, self._kept_places - jobs.count(name)) for name in self._bytes}
        free = self._places - len(jobs)
        rooms = {}
        for name in self._bytes:
            others = [other for other in self._bytes if other != name]
            kept = sum(min(owed[other], self._kept_samples[other]) * self._bytes[other] for other in others)
            rooms[name] = ModelRoom(max(0, free - sum(owed[other] for other in others)), kept)
        return rooms


def default_sample_bytes(entry: CatalogEntry) -> int:
    """What a sample of the model's default size holds."""
    image = "an image" if "image" in entry.required_fields else None
    prompt = "a" if entry.takes_prompt else None
    request = GenerationRequest(model=entry.name, input=GenerationInput(prompt=prompt, seed=0, image=image))
    return sample_bytes(entry, resolve(request, entry))
