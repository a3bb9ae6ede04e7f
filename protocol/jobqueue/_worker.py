"""The worker's side of the queue: claim, keep, tell, end."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, cast

from pydantic import ValidationError
from redis.asyncio import RedisCluster

from protocol import keys, wire
from protocol.connection import translated
from protocol.errors import ErrorInfo, Unavailable
from protocol.events import Event, Preview, Step, encode_event
from protocol.jobqueue._base import Arguments, Base
from protocol.logs import of_job
from protocol.records import Claim, ClaimedJob, JobKey, JobResult, ModelRoom
from protocol.states import JobStatus

logger = logging.getLogger(__name__)

LeaseWord = Literal["ok", "cancel", "preempt", "lost"]
"""`preempt` is kept for later; nothing sets it yet."""
FencedWord = Literal["ok", "lost"]
CommitWord = Literal["ok", "already", "lost"]

_BELL_GRACE_S = 5.0
"""Added to the time a blocking pop may take by itself; after that its connection counts as dead."""
_RESUBSCRIBE_S = 0.5


class Publication(NamedTuple):
    """Events of one lease, for `publish_many`. `step` is the progress, in evaluations of all samples."""

    key: JobKey
    token: str
    events: Sequence[Event]
    step: int | None = None


class WorkerSide(Base):
    async def wait_bell(self, models: Sequence[str], timeout_s: float = 2.0) -> bool:
        """Sleep until there may be a job for one of the models, at most `timeout_s`; claim either way.

        Raises:
            Unavailable: Redis is away.
        """
        partitions = range(self.settings.partitions)
        if not isinstance(self.patient, RedisCluster):
            return await self._pop_bell(partitions, models, timeout_s)
        return await self._first_bell(models, timeout_s)

    async def _first_bell(self, models: Sequence[str], timeout_s: float) -> bool:
        """Wait on every partition by itself: in a cluster one command cannot wait on several slots."""
        for partition in range(self.settings.partitions):
            place = (str(partition), *models)
            if place not in self._bells:
                pop = self._pop_bell([partition], models, timeout_s)
                self._bells[place] = asyncio.create_task(pop, name=f"bell-{partition}")
        # The others stay for the next call: to cancel a blocking pop costs its connection and perhaps a bell.
        done, _ = await asyncio.wait(self._bells.values(), return_when=asyncio.FIRST_COMPLETED)
        self._bells = {place: bell for place, bell in self._bells.items() if bell not in done}
        return any(await asyncio.gather(*done))

    async def _pop_bell(self, partitions: Iterable[int], models: Sequence[str], timeout_s: float) -> bool:
        prefixes = [keys.prefix(partition) for partition in partitions]
        bells = [keys.key(prefix, "bell", model) for prefix in prefixes for model in models]
        try:
            with translated(self.settings.retry_after_s):
                async with asyncio.timeout(timeout_s + _BELL_GRACE_S):
                    rung = await self.patient.execute_command("BLPOP", *bells, timeout_s)
        except TimeoutError as error:
            raise Unavailable("the job store does not answer", retry_after_s=1) from error
        return rung is not None

    async def claim(
        self,
        worker: str,
        token: str,
        models: Sequence[str],
        free_bytes: int,
        k: int,
        *,
        limits: Mapping[str, ModelRoom] | None = None,
    ) -> Claim:
        """Lease up to `k` jobs that fit into `free_bytes`. With the same token again: the same jobs.

        The queue writes `started`. A job that has crashed its worker twice (`solo`) is given only to a worker
        that holds nothing, and until it has ended that worker is given nothing more.

        Args:
            worker: this worker's name, the same after its engine restarted.
            token: fresh and random (`secrets.token_hex(16)`), fences everything done under these leases.
            models: served, with equal rights.
            free_bytes: memory for samples; what an idle worker names is all it has.
            k: at least 1.
            limits: what single models may take of it; those not named: all. `kept_bytes` does not bind a
                worker that holds nothing: its first job may be as large as all it has.
        """
        rooms = [(model, *(limits or {}).get(model, ModelRoom(k))) for model in models]
        served = [each for room in rooms for each in room]
        partitions = self.settings.partitions
        for shift in range(partitions):
            partition = (self._next_partition + shift) % partitions
            elsewhere = await self._held_elsewhere(worker, partition)
            row = await self._run("claim", partition, worker, token, free_bytes, k, elsewhere, *served)
            jobs = [job for fields in row[1:] if (job := await self._readable(fields, token))]
            if row[1:] or row[0]:
                self._next_partition = (partition + 1) % partitions
                return Claim(tuple(jobs), int(row[0]) if row[0] else None)
        return Claim(())

    async def _held_elsewhere(self, worker: str, partition: int) -> int:
        others = [other for other in range(self.settings.partitions) if other != partition]
        with translated(self.settings.retry_after_s):
            held = [await self.redis.scard(keys.key(keys.prefix(other), "held", worker)) for other in others]
        return sum(held)

    async def _readable(self, fields: Sequence[bytes], token: str) -> ClaimedJob | None:
        try:
            return wire.decode_claimed(fields, token)
        except ValidationError as error:
            key = JobKey.parse(fields[0].decode())
            logger.error("the job cannot be read and is failed: %s", error, extra=of_job(str(key)))
            result = JobResult(error=ErrorInfo(code="unreadable_request", message="the job cannot be read"))
            await self.commit(key, token, JobStatus.FAILED, 0, result)
            return None

    async def renew(self, worker: str, leases: Sequence[tuple[JobKey, str]]) -> list[LeaseWord]:
        """Prolong leases, (job, token); each answers `ok`, `cancel` (flagged: stop it) or `lost`."""
        words: list[LeaseWord] = ["lost"] * len(leases)
        for partition in {self._partition(key) for key, _ in leases}:
            chosen = [index for index, (key, _) in enumerate(leases) if self._partition(key) == partition]
            flat = [text for index in chosen for text in (str(leases[index][0]), leases[index][1])]
            answers = await self._run("renew", partition, worker, *flat)
            for index, word in zip(chosen, answers, strict=True):
                words[index] = cast(LeaseWord, word.decode())
        return words

    async def publish(
        self, key: JobKey, token: str, events: Sequence[Event], step: int | None = None
    ) -> FencedWord:
        """Tell `Step` and `Preview` events and the progress; every other event is the queue's own.

        Raises:
            ValueError: another event.
        """
        return (await self.publish_many([Publication(key, token, events, step)]))[0]

    async def publish_many(
        self, items: Sequence[tuple[JobKey, str, Sequence[Event], int | None]]
    ) -> list[FencedWord]:
        """`publish` for several jobs in one round trip; a job may come once.

        Raises:
            ValueError: an event that is not a step or preview, a job that comes twice.
        """
        if not items:
            return []
        if len({item[0] for item in items}) < len(items):
            raise ValueError("a job stands twice in one publish_many")
        calls = [(self._partition(item[0]), _publication(*item)) for item in items]
        return [cast(FencedWord, word.decode()) for word in await self._run_many("publish", calls)]

    async def save(self, key: JobKey, token: str, pointer: bytes, step: int) -> FencedWord:
        """Keep a checkpoint, or where it is stored; the next claim hands it out."""
        word = await self._run("save", self._partition(key), str(key), token, pointer, step)
        return cast(FencedWord, word.decode())

    async def release(
        self, key: JobKey, token: str, reason: Literal["drain", "preempt"] = "drain"
    ) -> FencedWord:
        """Hand a job back as if never claimed: old place, no attempt counted. Ends it if it is flagged."""
        word = await self._run("release", self._partition(key), str(key), token, reason)
        return cast(FencedWord, word.decode())

    async def abandon(self, worker: str) -> int:
        """Give up everything this worker holds because its engine died; counts as a crash of each job."""
        partitions = range(self.settings.partitions)
        return sum([int(await self._run("abandon", partition, worker)) for partition in partitions])

    async def commit(
        self, key: JobKey, token: str, outcome: JobStatus, spent_units: int, result: JobResult
    ) -> CommitWord:
        """End a job, once: state, result, counters and final event in one script.

        Returns:
            `ok`; `already` if this very lease ended it before (a repeated call); `lost` if the lease is gone.

        Raises:
            ValueError: outcome and result do not go together (see `wire.final_event`).
            Unavailable: Redis is away or the write is not yet durable; repeat it.
        """
        event = encode_event(wire.final_event(outcome, result))
        arguments = (str(key), token, outcome.value, spent_units, wire.encode_result(result), event)
        word = await self._run_durably("commit", self._partition(key), *arguments)
        return cast(CommitWord, word.decode())

    async def watch_worker(self, worker: str) -> AsyncIterator[str]:
        """Names (`tenant/id`) of this worker's jobs that are to be cancelled, as they come.

        Survives a restart of Redis; what was said meanwhile comes with the next `renew`.
        """
        while True:
            try:
                with translated(self.settings.retry_after_s):
                    async for data in self._messages(keys.worker_channel(worker)):
                        yield data.decode()
            except Unavailable:
                await asyncio.sleep(_RESUBSCRIBE_S)

    async def _messages(self, channel: str) -> AsyncIterator[bytes]:
        pubsub = await self.subscriber()
        try:
            await pubsub.subscribe(channel)
            async for message in pubsub.listen():
                if message["type"] == "message":
                    yield message["data"]
        finally:
            await pubsub.aclose()


def _publication(key: JobKey, token: str, events: Sequence[Event], step: int | None) -> Arguments:
    tagged: list[str | bytes] = []
    for event in events:
        if not isinstance(event, Step | Preview):
            raise ValueError(f"{event.type} events are written by the queue itself")
        tagged += [str(event.sample) if isinstance(event, Preview) else "log", encode_event(event)]
    # By this the script knows a repeated call. Two calls in a row never say the same: steps are numbered.
    digest = hashlib.blake2b(repr((tagged, step)).encode(), digest_size=8).hexdigest()
    return [str(key), token, digest, "" if step is None else step, *tagged]
