"""Events from Redis to any number of followers over one subscription.

Pub/sub carries the events, the stream is the truth: a follower holds a cursor, and a gap in the numbers, a
reconnect or a full inbox sends it to the stream for what it missed. Previews are in no stream and have no
number: once a follower has caught up it is told the latest of each sample, unless it has seen a later one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from protocol import keys, wire
from protocol.connection import translated
from protocol.errors import NotFound, Unavailable
from protocol.events import TERMINAL_TYPES, Preview
from protocol.jobqueue.jobqueue import JobQueue
from protocol.records import JobKey, JobResult, StreamedEvent
from protocol.states import JobStatus

logger = logging.getLogger(__name__)

_KEEP_OPEN = "rh:hub"
"""A channel nobody speaks on: the connection stays subscribed while no job is followed."""
_RECONNECT_S = 0.2
_PAGE = 500


class _Follower:
    """One reader of one job: a cursor and a short inbox."""

    def __init__(self, after: int, backlog: int) -> None:
        self.cursor = after
        self.behind = True
        self.found = False
        self._inbox: deque[StreamedEvent] = deque()
        self._backlog = backlog
        self._wake = asyncio.Event()
        self._shown: dict[int, tuple[int, int]] = {}
        """Attempt and step of the last preview of each sample."""

    def offer(self, streamed: StreamedEvent) -> None:
        """Put a message in; with the inbox full, fall behind instead."""
        if len(self._inbox) >= self._backlog:
            self.fall_behind()
        else:
            self._inbox.append(streamed)
            self._wake.set()

    def fall_behind(self) -> None:
        """Have the stream read from the cursor on."""
        self._inbox.clear()
        self.behind = True
        self._wake.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when there is something to do; after `timeout_s` fall behind, in case a message was lost."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            self.behind = True

    def drain(self) -> Iterator[StreamedEvent]:
        """What may be passed on in order; stops at a gap."""
        self._wake.clear()
        while self._inbox and not self.behind:
            streamed = self._inbox.popleft()
            if streamed.seq == 0:
                yield from self.new_previews([streamed])
            elif streamed.seq == self.cursor + 1:
                self.pass_on(streamed)
                yield streamed
            elif streamed.seq > self.cursor:
                self.fall_behind()

    def pass_on(self, streamed: StreamedEvent) -> None:
        """Note a numbered event. A job that starts over shows its first steps again."""
        self.cursor = streamed.seq
        if streamed.event.type == "requeued":
            self._shown.clear()

    def new_previews(self, told: Iterable[StreamedEvent]) -> Iterator[StreamedEvent]:
        """Those that show their sample further on than it has been shown to this reader."""
        for streamed in told:
            preview = streamed.event
            assert isinstance(preview, Preview), "every other event has a number"
            place = (preview.attempt, preview.step)
            if place > self._shown.get(preview.sample, (0, -1)):
                self._shown[preview.sample] = place
                yield streamed


class EventHub:
    """All event streams of a gateway.

    Args:
        queue: whose jobs are followed.
        connections: readers of streams at a time, at most.
        backlog: messages a slow follower may leave lying before it is sent to the stream.
        refill_s: a silent follower looks into the stream after so long.
    """

    def __init__(
        self, queue: JobQueue, *, connections: int = 16, backlog: int = 256, refill_s: float = 15.0
    ) -> None:
        self._queue = queue
        self._readers = asyncio.Semaphore(connections)
        self._backlog = backlog
        self._refill_s = refill_s
        self._followers: dict[str, set[_Follower]] = {}
        self._pubsub: Any = None
        self._tuning = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe, and stay subscribed whatever happens to Redis, until `stop`."""
        self._task = asyncio.create_task(self._listen(), name="event-hub")

    async def stop(self) -> None:
        """Unsubscribe. Streams still open go on by looking into Redis every `refill_s`."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def stream(self, key: JobKey, after: int = 0) -> AsyncIterator[StreamedEvent]:
        """The job's events numbered above `after`, then those to come, until the one that ends it.

        Where the stream has expired, an ended job still tells its end. Survives Redis being away meanwhile.

        Raises:
            NotFound: there is no such job.
            Unavailable: Redis is away at the start.
        """
        follower = _Follower(after, self._backlog)
        async with self._following(keys.key(keys.prefix(self._partition(key)), "ev", str(key)), follower):
            while True:
                batch = await self._next(key, follower)
                if batch is None:
                    return
                for streamed in batch:
                    yield streamed
                    if streamed.event.type in TERMINAL_TYPES:
                        return

    def _partition(self, key: JobKey) -> int:
        return keys.partition_of(key.tenant, self._queue.settings.partitions)

    async def _next(self, key: JobKey, follower: _Follower) -> list[StreamedEvent] | None:
        """What comes next, possibly nothing; None if the job has ended and all is told."""
        if not follower.behind:
            await follower.wait(self._refill_s)
            return list(follower.drain())
        try:
            return await self._refill(key, follower)
        except Unavailable:
            if not follower.found:
                raise
            await asyncio.sleep(_RECONNECT_S)
            return []

    async def _refill(self, key: JobKey, follower: _Follower) -> list[StreamedEvent] | None:
        (state, seq, result), shown, entries = await self._read(key, follower.cursor)
        if state is None and not follower.found:
            raise NotFound(f"there is no job {key.id}")
        follower.found = True
        batch = [wire.decode_entry(entry_id, fields) for entry_id, fields in entries]
        for streamed in batch:
            follower.pass_on(streamed)
        follower.behind = len(batch) == _PAGE
        if follower.behind:
            return batch
        previews = [wire.decode_preview(shown[sample]) for sample in sorted(shown, key=int)]
        batch += follower.new_previews(previews)
        if batch or state is None:
            return batch or None
        status = JobStatus(state.decode())
        return self._ending(status, int(seq or 0), result, follower.cursor) if status.ended else []

    async def _read(self, key: JobKey, cursor: int) -> list[Any]:
        """State, seq and result of the job, its previews, and what its stream has after `cursor`."""
        prefix = keys.prefix(self._partition(key))
        async with self._readers:
            with translated(self._queue.settings.retry_after_s):
                pipe = self._queue.redis.pipeline(transaction=False)
                # The stream last: if the state says ended it is complete, and no preview is ahead of it.
                pipe.hmget(keys.key(prefix, "job", str(key)), "state", "seq", "result")
                pipe.hgetall(keys.key(prefix, "shown", str(key)))
                pipe.xrange(keys.key(prefix, "ev", str(key)), min=f"{cursor + 1}-0", max="+", count=_PAGE)
                answers: list[Any] = await pipe.execute()
                return answers

    @staticmethod
    def _ending(status: JobStatus, seq: int, result: bytes | None, cursor: int) -> list[StreamedEvent] | None:
        """The end of a job whose stream has expired, made from its hash; None if it is told already."""
        if cursor >= seq:
            return None
        return [StreamedEvent(seq, wire.final_event(status, JobResult.model_validate_json(result or b"{}")))]

    @asynccontextmanager
    async def _following(self, channel: str, follower: _Follower) -> AsyncIterator[None]:
        try:
            with self._registered(channel, follower) as is_first:
                if is_first:
                    await self._tune(channel)
                yield
        finally:
            if channel not in self._followers:
                await self._tune(channel)

    @contextmanager
    def _registered(self, channel: str, follower: _Follower) -> Iterator[bool]:
        followers = self._followers.setdefault(channel, set())
        followers.add(follower)
        try:
            yield len(followers) == 1
        finally:
            followers.discard(follower)
            if not followers:
                self._followers.pop(channel, None)

    async def _tune(self, channel: str) -> None:
        """Be subscribed if the channel is followed now, and not if it is not."""
        async with self._tuning:
            if self._pubsub is None:
                return  # the listener is mending the connection and subscribes to all that is followed
            command = self._pubsub.subscribe if channel in self._followers else self._pubsub.unsubscribe
            with suppress(Unavailable), translated(1):
                await command(channel)

    async def _listen(self) -> None:
        while True:
            try:
                with translated(1):
                    await self._subscription()
            except Unavailable as error:
                logger.warning("event subscription lost, trying again: %s", error)
            except Exception:
                # Nobody waits for this task: it must neither end nor fail in silence.
                logger.exception("event subscription failed, trying again")
            await asyncio.sleep(_RECONNECT_S)

    async def _subscription(self) -> None:
        """Serve one connection until it breaks."""
        pubsub = await self._queue.subscriber()
        try:
            await pubsub.subscribe(_KEEP_OPEN)
            self._pubsub = pubsub
            if self._followers:
                await pubsub.subscribe(*self._followers)
            async for message in pubsub.listen():
                self._dispatch(message["type"], message["channel"].decode(), message["data"])
        finally:
            self._pubsub = None
            await pubsub.aclose()

    def _dispatch(self, kind: str, channel: str, data: Any) -> None:
        followers = self._followers.get(channel, ())
        if kind == "subscribe":
            # Only from here on is nothing missed.
            for follower in followers:
                follower.fall_behind()
        elif kind == "message" and followers:
            streamed = wire.decode_message(data)
            for follower in followers:
                follower.offer(streamed)
