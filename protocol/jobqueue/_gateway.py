"""The gateway's side of the queue: put in, look up, take back."""

from __future__ import annotations

import re
import secrets
from typing import Literal, cast, get_args

from protocol import keys, wire
from protocol.connection import translated
from protocol.errors import NotFound
from protocol.jobqueue._base import Base
from protocol.jobs import JOB_ID_PATTERN
from protocol.records import JobKey, JobRecord, ModelLoad, NewJob, Outcome, Page, Submission

CancelWord = Literal["cancelled", "cancelling", "already_cancelled", "ended", "missing"]
ForgetWord = Literal["ok", "live", "missing"]
RegrantWord = Literal["ok", "started", "floor", "missing"]

_TENANT = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
_JOB_ID = re.compile(JOB_ID_PATTERN)
_MODEL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")


class GatewaySide(Base):
    async def submit(self, job: NewJob) -> Submission:
        """Queue a job, or say why not.

        Returns:
            `ok` queued; `replay` the same job stands already (`key` names it); `conflict` the id or the
            idempotency key stands for another body; `full` too many wait. A refused submit leaves no trace.

        Raises:
            ValueError: a tenant, id or model that cannot stand in a key.
            BodyTooLarge: the request is larger than Redis should keep.
            Unavailable: Redis is away, full, or the write is not yet durable; repeating is safe.
        """
        _check_names(job)
        arguments = wire.encode_submission(job, secrets.token_hex(8))
        word, job_id = await self._run_durably("submit", self._partition(job.key), *arguments)
        outcome = word.decode()
        assert outcome in get_args(Outcome), outcome
        return Submission(cast(Outcome, outcome), JobKey(job.key.tenant, job_id.decode()))

    async def get(self, key: JobKey) -> JobRecord | None:
        """The job as it stands, None if there is none (any more)."""
        with translated(self.settings.retry_after_s):
            fields = await self.redis.hgetall(keys.key(self._prefix(key), "job", str(key)))
        return wire.decode_record(key, fields) if fields else None

    async def stands(self, key: JobKey, idempotency: tuple[str, str] | None) -> bool:
        """Whether a submit under this id or Idempotency-Key would find a job that is there already."""
        prefix = self._prefix(key)
        names = [keys.key(prefix, "job", str(key))]
        if idempotency is not None:
            names.append(keys.key(prefix, "idem", key.tenant, *idempotency))
        with translated(self.settings.retry_after_s):
            return bool(await self.redis.exists(*names))

    async def list(
        self, tenant: str, *, after: str | None = None, limit: int = 20, oldest_first: bool = False
    ) -> Page:
        """A tenant's jobs, newest first unless told otherwise, those that come after the job `after`.

        Raises:
            NotFound: there is no job `after`.
        """
        prefix = keys.prefix(keys.partition_of(tenant, self.settings.partitions))
        mine = keys.key(prefix, "mine", tenant)
        with translated(self.settings.retry_after_s):
            first = 0 if after is None else await self._rank_after(mine, JobKey(tenant, after), oldest_first)
            names = await self.redis.zrange(mine, first, first + limit, desc=not oldest_first)
            pipe = self.redis.pipeline(transaction=False)
            for name in names[:limit]:
                pipe.hgetall(keys.key(prefix, "job", name.decode()))
            hashes = await pipe.execute() if names else []
        found = [JobKey.parse(name.decode()) for name in names[:limit]]
        # A hash may have expired a moment before `reap` takes its name from the list.
        pairs = [(key, fields) for key, fields in zip(found, hashes, strict=True) if fields]
        return Page(tuple(wire.decode_record(*pair) for pair in pairs), has_more=len(names) > limit)

    async def _rank_after(self, mine: str, key: JobKey, oldest_first: bool) -> int:
        rank = await (self.redis.zrank if oldest_first else self.redis.zrevrank)(mine, str(key))
        if rank is None:
            raise NotFound(f"there is no job {key.id}", param="after")
        return int(rank) + 1

    async def position(self, record: JobRecord) -> int:
        """How many jobs would be served before this one; 0 also if it does not wait."""
        ahead = await self._run("position", self._partition(record.key), str(record.key))
        return max(0, int(ahead))

    async def load(self, model: str) -> ModelLoad:
        """What waits and runs for a model, over all partitions."""
        rows = [await self._run("load", partition, model) for partition in range(self.settings.partitions)]
        jobs, units, running_jobs, running_units, oldest_ms, dead = zip(*rows, strict=True)
        return ModelLoad(
            *(sum(jobs), sum(units), sum(running_jobs), sum(running_units)),
            oldest_ms=max(oldest_ms),
            dead=sum(dead),
        )

    async def cancel(self, key: JobKey) -> CancelWord:
        """End a queued job, or flag a running one, whose worker is told at once."""
        word = await self._run("cancel", self._partition(key), str(key))
        return cast(CancelWord, word.decode())

    async def forget(self, key: JobKey) -> ForgetWord:
        """Remove an ended job; one that waits or runs is `live` and stays."""
        word = await self._run("forget", self._partition(key), str(key))
        return cast(ForgetWord, word.decode())

    async def regrant(self, key: JobKey, granted_mflop: int, units: int) -> RegrantWord:
        """Grant a waiting job another amount of compute, never below its floor; tells `degraded`."""
        word = await self._run("regrant", self._partition(key), str(key), granted_mflop, units)
        return cast(RegrantWord, word.decode())

    async def reap(self, limit: int = 100) -> int:
        """Take back jobs whose lease ran out, end back-offs, forget expired jobs; each gateway, each second.

        Args:
            limit: leases at most, in each partition.

        Returns:
            How many leases had run out.
        """
        partitions = range(self.settings.partitions)
        return sum([int(await self._run("reap", partition, limit)) for partition in partitions])


def _check_names(job: NewJob) -> None:
    names = ((job.key.tenant, _TENANT), (job.key.id, _JOB_ID), (job.model, _MODEL))
    for name, pattern in names:
        if not pattern.match(name):
            raise ValueError(f"{name!r} cannot stand in a key; it must match {pattern.pattern}")
