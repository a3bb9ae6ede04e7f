"""What both sides of the queue share: connections, scripts, the checks at start."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Self, TypeAlias

from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError, RedisError, ResponseError

from protocol import keys
from protocol.connection import Client, close, connect, translated
from protocol.errors import Unavailable
from protocol.jobqueue.lua import load_scripts
from protocol.jobqueue.settings import QueueSettings
from protocol.records import JobKey

logger = logging.getLogger(__name__)

Arguments: TypeAlias = list[str | bytes | int]


class UnsuitableServer(RuntimeError):
    """This Redis cannot hold a job queue; the message says why and what to change."""


class Base:
    """Connections and script calls. Use `JobQueue`.

    Args:
        redis: for calls that answer at once; answers must be bytes (`decode_responses` off).
        settings: limits and lifetimes.
        patient: for blocking pops and subscriptions, without a limit on reply times; None: `redis` itself.
    """

    def __init__(
        self, redis: Client, settings: QueueSettings | None = None, *, patient: Client | None = None
    ) -> None:
        self.settings = settings or QueueSettings()
        # Not typed as Client: the driver declares answers for both of its decoding modes.
        self.redis: Any = redis
        self.patient: Any = patient or redis
        self._scripts = load_scripts(self.settings)
        self._next_partition = 0
        self._bells: dict[tuple[str, ...], asyncio.Task[bool]] = {}

    @classmethod
    async def connect(cls, url: str, settings: QueueSettings | None = None) -> Self:
        """A queue on the server at `url`, opened.

        Raises:
            BadRedisUrl: the URL is not understood.
            Unavailable: nobody answers there.
            UnsuitableServer: see `open`.
        """
        settings = settings or QueueSettings()
        patient = connect(url, settings.connection, patient=True)
        queue = cls(connect(url, settings.connection), settings, patient=patient)
        try:
            await queue.open()
        except BaseException:
            await queue.close()
            raise
        return queue

    async def close(self) -> None:
        """Close the connections."""
        for bell in self._bells.values():
            bell.cancel()
        await asyncio.gather(*self._bells.values(), return_exceptions=True)
        for client in {self.redis, self.patient}:
            await close(client)

    async def open(self) -> None:
        """Check that the server can hold the queue, and give it the scripts.

        Raises:
            Unavailable: it does not answer.
            UnsuitableServer: it evicts keys, demands declared keys, or cannot give the durability asked for.
        """
        with translated(self.settings.retry_after_s):
            for partition in range(self.settings.partitions):
                await self._check_server(partition)
                await self._check_scripts(partition)

    async def ping(self) -> None:
        """Raise `Unavailable` unless every partition's server answers and runs our scripts."""
        for partition in range(self.settings.partitions):
            await self._run("load", partition, "")

    async def subscriber(self) -> Any:
        """A pub/sub object on a connection of its own."""
        if isinstance(self.patient, RedisCluster):
            await self.patient.initialize()  # the driver's pub/sub forgets to ask for the cluster's nodes
        return self.patient.pubsub()

    async def _check_server(self, partition: int) -> None:
        info = await self._info(partition)
        policy = str(info.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            raise UnsuitableServer(
                f"Redis evicts keys (maxmemory-policy {policy}) and so would lose jobs; set it to noeviction"
            )
        appends = int(info.get("aof_enabled", 0))
        if not appends and self.settings.durability == "fsync":
            raise UnsuitableServer("durability fsync needs an append-only file; set appendonly yes")
        if not appends:
            logger.warning("Redis keeps no append-only file (appendonly no): a restart may lose jobs")

    async def _info(self, partition: int) -> dict[str, Any]:
        where: dict[str, Any] = {}
        if isinstance(self.redis, RedisCluster):
            await self.redis.initialize()
            where["target_nodes"] = self.redis.get_node_from_key(keys.prefix(partition))
        sections = [await self.redis.info(section, **where) for section in ("memory", "persistence")]
        return {name: value for section in sections for name, value in section.items()}

    async def _check_scripts(self, partition: int) -> None:
        try:
            for script in self._scripts.values():
                await self.redis.script_load(script.source)
            await self._call("load", partition, "")
        except ResponseError as error:
            if str(error).startswith("LOADING"):
                raise
            raise UnsuitableServer(
                "Redis refuses our scripts, which build key names from the prefix they are given"
                f" (Redis or Valkey 7.0 or later is needed, without a demand for declared keys): {error}"
            ) from error

    def _partition(self, key: JobKey) -> int:
        return keys.partition_of(key.tenant, self.settings.partitions)

    def _prefix(self, key: JobKey) -> str:
        return keys.prefix(self._partition(key))

    async def _run(self, name: str, partition: int, *args: str | bytes | int) -> Any:
        """Run a script; Redis being away becomes `Unavailable`."""
        with translated(self.settings.retry_after_s):
            return await self._call(name, partition, *args)

    async def _call(self, name: str, partition: int, *args: str | bytes | int) -> Any:
        script, prefix = self._scripts[name], keys.prefix(partition)
        try:
            return await self.redis.execute_command("EVALSHA", script.sha, 1, prefix, *args)
        except NoScriptError:
            # A server that restarted or a promoted replica; EVAL runs and keeps it in one call.
            return await self.redis.execute_command("EVAL", script.source, 1, prefix, *args)

    async def _run_many(self, name: str, calls: list[tuple[int, Arguments]]) -> list[Any]:
        """Run one script with several arguments, (partition, arguments), in one round trip."""
        sha = self._scripts[name].sha
        with translated(self.settings.retry_after_s):
            pipe = self.redis.pipeline(transaction=False)
            for partition, args in calls:
                pipe.execute_command("EVALSHA", sha, 1, keys.prefix(partition), *args)
            answers = await pipe.execute(raise_on_error=False)
            return [
                await self._settle(name, call, answer) for call, answer in zip(calls, answers, strict=True)
            ]

    async def _settle(self, name: str, call: tuple[int, Arguments], answer: Any) -> Any:
        if isinstance(answer, NoScriptError):
            return await self._call(name, call[0], *call[1])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _run_durably(self, name: str, partition: int, *args: str | bytes | int) -> Any:
        """Run a script and wait, on the same connection, for what `durability` asks.

        Raises:
            Unavailable: the wait ran out. The call may have taken effect; repeating it is safe.
        """
        if self.settings.durability == "memory":
            return await self._run(name, partition, *args)
        with translated(self.settings.retry_after_s):
            script = self._scripts[name]
            answer = await self._with_wait("EVALSHA", script.sha, partition, args)
            if isinstance(answer[0], NoScriptError):
                answer = await self._with_wait("EVAL", script.source, partition, args)
            for item in answer:
                if isinstance(item, RedisError):
                    raise item
        if not self._is_durable(answer[1]):
            raise Unavailable("the write is not durable yet", retry_after_s=self.settings.retry_after_s)
        return answer[0]

    async def _with_wait(
        self, command: str, script: str, partition: int, args: tuple[str | bytes | int, ...]
    ) -> list[Any]:
        prefix = keys.prefix(partition)
        where: dict[str, Any] = {}
        if isinstance(self.redis, RedisCluster):
            where["target_nodes"] = self.redis.get_node_from_key(prefix)
        pipe = self.redis.pipeline(transaction=False)
        pipe.execute_command(command, script, 1, prefix, *args, **where)
        wait = ("WAITAOF", 1, 0) if self.settings.durability == "fsync" else ("WAIT", 1)
        pipe.execute_command(*wait, self.settings.durability_timeout_ms, **where)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers

    def _is_durable(self, answer: Any) -> bool:
        count = answer[0] if isinstance(answer, list | tuple) else answer
        return int(count) >= 1
