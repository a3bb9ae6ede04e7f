"""Waiting out a Redis that is away, or a store that stumbles: a worker keeps what it holds and tries again.

Every call of the queue is idempotent by its arguments, so a reply that got lost is answered by
the same call once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from protocol.errors import Unavailable

OUTAGES = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, Unavailable, OSError)
"""What a restart, a failover or a cut connection looks like."""

_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 1.0
_STORE_TRIES = 3
_STORE_PAUSE_S = 0.2
_LOG = logging.getLogger("rheostat.worker")

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Await `call()`, again and again while Redis is away, with pauses that double up to a second."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await call()
        except OUTAGES as error:
            _LOG.warning("%s has to wait: %s", what, error)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)


async def insist(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Await `call()` of the artifact store, a few times if it stumbles.

    Raises:
        OSError, Unavailable: it does every time.
    """
    for _ in range(_STORE_TRIES - 1):
        try:
            return await call()
        except (OSError, Unavailable) as error:
            _LOG.warning("%s has to wait: %s", what, error)
            await asyncio.sleep(_STORE_PAUSE_S)
    return await call()


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended, whatever they end with.

    A client that turns its own time-out into an error can swallow a cancellation that comes at the same
    moment, and a loop around it goes on; so it is repeated.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_MAX_PAUSE_S)
