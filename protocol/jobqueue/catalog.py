"""What belongs to no tenant: the models, the workers present, the installation's secret and nonce."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence

from pydantic import ValidationError

from protocol import keys
from protocol.catalog import CatalogEntry
from protocol.connection import translated
from protocol.jobqueue._base import Base
from protocol.records import WorkerPresence
from protocol.states import WorkerState

logger = logging.getLogger(__name__)


class Catalog:
    """Models and workers, over the connection of a job queue. Redis being away raises `Unavailable`.

    Args:
        queue: whose connection is used.
        presence_ttl_s: a worker silent for so long is gone.
    """

    def __init__(self, queue: Base, *, presence_ttl_s: int = keys.PRESENCE_TTL_S) -> None:
        self._queue = queue
        self._redis = queue.redis
        self._presence_ttl_s = presence_ttl_s

    async def put(self, entry: CatalogEntry) -> None:
        """Add or replace a model. Its measured speed is kept unless the entry brings one."""
        with translated(self._queue.settings.retry_after_s):
            await self._redis.hset(keys.MODELS, entry.name, entry.model_dump_json())
        if entry.tflops_per_second:
            await self.set_speed(entry.name, entry.tflops_per_second)

    async def get(self, name: str) -> CatalogEntry | None:
        """The model of this name, with its last measured speed."""
        with translated(self._queue.settings.retry_after_s):
            raw = await self._redis.hget(keys.MODELS, name)
            speed = await self._redis.hget(keys.SPEEDS, name)
        return _entry(name, raw, speed) if raw else None

    async def all(self) -> list[CatalogEntry]:
        """All models by name; an entry that another version wrote and we cannot read is left out."""
        with translated(self._queue.settings.retry_after_s):
            rows = await self._redis.hgetall(keys.MODELS)
            speeds = await self._redis.hgetall(keys.SPEEDS)
        entries = [_entry(name.decode(), rows[name], speeds.get(name)) for name in sorted(rows)]
        return [entry for entry in entries if entry]

    async def set_speed(self, name: str, tflops_per_second: float) -> None:
        with translated(self._queue.settings.retry_after_s):
            await self._redis.hset(keys.SPEEDS, name, repr(tflops_per_second))

    async def heartbeat(self, worker: str, state: WorkerState, models: Sequence[str]) -> None:
        """Say that this worker is there; holds for `presence_ttl_s`."""
        presence = WorkerPresence(worker=worker, state=state, models=tuple(models))
        with translated(self._queue.settings.retry_after_s):
            await self._redis.set(keys.presence(worker), presence.model_dump_json(), ex=self._presence_ttl_s)
            await self._redis.zadd(keys.WORKERS, {worker: 0})

    async def leave(self, worker: str) -> None:
        """Say that this worker is gone."""
        with translated(self._queue.settings.retry_after_s):
            await self._redis.delete(keys.presence(worker))
            await self._redis.zrem(keys.WORKERS, worker)

    async def workers(self) -> list[WorkerPresence]:
        """The workers that are there, by name."""
        with translated(self._queue.settings.retry_after_s):
            names = [name.decode() for name in await self._redis.zrange(keys.WORKERS, 0, -1)]
            rows = await self._redis.mget([keys.presence(name) for name in names]) if names else []
            gone = [name for name, row in zip(names, rows, strict=True) if row is None]
            if gone:
                await self._redis.zrem(keys.WORKERS, *gone)
        return [WorkerPresence.model_validate_json(row) for row in rows if row is not None]

    async def secret(self) -> bytes:
        """The installation's secret, 32 bytes, drawn once: gateways sign artifact URLs with it."""
        return bytes.fromhex(await self._settled(keys.SECRET, secrets.token_hex(32)))

    async def nonce(self, proposal: str | None = None) -> str:
        """The mark that ties an artifact store to this Redis; the first proposal stands for good."""
        return await self._settled(keys.NONCE, proposal or secrets.token_hex(16))

    async def _settled(self, key: str, proposal: str) -> str:
        with translated(self._queue.settings.retry_after_s):
            await self._redis.set(key, proposal, nx=True)
            raw = await self._redis.get(key)
        assert isinstance(raw, bytes), key
        return raw.decode()


def _entry(name: str, raw: bytes, speed: bytes | None) -> CatalogEntry | None:
    try:
        entry = CatalogEntry.model_validate_json(raw)
    except ValidationError as error:
        logger.warning("catalog entry %s cannot be read: %s", name, error)
        return None
    return entry.model_copy(update={"tflops_per_second": float(speed)}) if speed else entry
