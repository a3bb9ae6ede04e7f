"""Getting work: claim while there is room, listen to the bell while there is none to get."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from protocol.jobqueue import JobQueue
from protocol.records import ClaimedJob, ModelRoom
from workers.patience import end, patiently


class Room(NamedTuple):
    """What fits at this moment: jobs and bytes; `idle` if nothing is held; `models`: single ones' limits."""

    jobs: int
    free_bytes: int
    idle: bool
    models: Mapping[str, ModelRoom] = {}

    def has(self, model: str) -> bool:
        """Whether a job of this model may come."""
        return self.jobs > 0 and self.models.get(model, ModelRoom(self.jobs)).jobs > 0


class Claimer:
    """Claims beside the engine's turns and hands over what it got.

    It claims again only when the last jobs are admitted, so that the free memory it names is true.
    """

    def __init__(
        self,
        queue: JobQueue,
        worker: str,
        models: Sequence[str],
        room: Callable[[], Room],
        deliver: Callable[[tuple[ClaimedJob, ...]], None],
    ) -> None:
        """Args:
        deliver: takes the jobs; from then on they are the runtime's.
        """
        self._queue = queue
        self._worker = worker
        self._models = tuple(models)
        self._room = room
        self._deliver = deliver
        self._stopping = asyncio.Event()
        self._wait_bytes = 0
        self._changed = asyncio.Event()
        self._deaf_to: tuple[str, ...] = ()
        self._opened = asyncio.Event()

    def look_again(self) -> None:
        """There may be room where there was none."""
        self._changed.set()
        if self._deaf_to and any(map(self._room().has, self._deaf_to)):
            self._opened.set()

    def stop(self) -> None:
        """Claim no more; a claim that is on its way is still delivered."""
        self._stopping.set()
        self._changed.set()

    async def run(self) -> None:
        """Claim until stopped."""
        while not self._stopping.is_set():
            room = self._room()
            if room.jobs < 1 or (room.free_bytes < self._wait_bytes and not room.idle):
                await self._until_changed()
            elif not await self._claim(room):
                await self._listen(room)

    async def _claim(self, room: Room) -> bool:
        """One claim; whether it is pointless to listen to the bell now."""
        token = secrets.token_urlsafe(16)
        claim = await patiently(
            lambda: self._queue.claim(
                self._worker, token, self._models, room.free_bytes, room.jobs, limits=room.models
            ),
            "claim",
        )
        self._wait_bytes = claim.wait_bytes or 0
        if claim.jobs:
            self._deliver(claim.jobs)
        return bool(claim.jobs) or claim.wait_bytes is not None

    async def _until_changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _listen(self, room: Room) -> None:
        """Wait for a bell of the models that may come, its time-out, room for another model, or `stop`."""
        heard = [model for model in self._models if room.has(model)]
        self._deaf_to = tuple(model for model in self._models if not room.has(model))
        self._opened.clear()
        bell = asyncio.create_task(patiently(lambda: self._queue.wait_bell(heard), "bell"))
        others = [asyncio.create_task(event.wait()) for event in (self._stopping, self._opened)]
        try:
            await asyncio.wait({bell, *others}, return_when=asyncio.FIRST_COMPLETED)
            if bell.done():
                bell.result()
        finally:
            self._deaf_to = ()
            await end((bell, *others))
