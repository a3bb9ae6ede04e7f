"""Server-sent events: framing, and comments while nothing happens so that proxies keep the line open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any, TypeVar

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream"
COMMENT = b": still here\n\n"

T = TypeVar("T")


def frame(name: str, data: bytes, seq: int = 0) -> bytes:
    """One event; `seq` 0 gives no id, so a client's Last-Event-ID stays what it was."""
    head = f"id: {seq}\nevent: {name}\n" if seq else f"event: {name}\n"
    return head.encode() + b"data: " + data + b"\n\n"


async def with_pauses(
    source: AsyncIterator[T], pause_s: float, stop: asyncio.Event
) -> AsyncGenerator[T | None]:
    """Everything `source` yields, and None for every `pause_s` in which it yields nothing.

    Ends when the source does or `stop` is set. The source is not cancelled in the middle of a wait, which
    would end an asynchronous generator.
    """
    stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    pending: asyncio.Future[T] | None = None
    try:
        while not stop.is_set():
            pending = pending or asyncio.ensure_future(anext(source))
            await asyncio.wait({pending, stopped}, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            if not pending.done():
                yield None
                continue
            done, pending = pending, None
            try:
                item = done.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        await _end(stopped)
        if pending is not None:
            await _end(pending)


async def _end(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, StopAsyncIteration):
        await task
