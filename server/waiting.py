"""Waiting for a job's end on behalf of a caller who may leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, cast

from starlette.requests import Request

from protocol.events import TERMINAL_TYPES, Cancelled, Completed, Failed
from protocol.jobqueue import EventHub
from protocol.records import JobKey, StreamedEvent
from server.gateway import Gateway

End = Completed | Failed | Cancelled


class CallerLeft(Exception):
    """The connection was closed before the job ended."""


async def wait_for_end(request: Request, gateway: Gateway, key: JobKey) -> End:
    """The job's final event.

    Raises:
        TimeoutError: `sync_wait_s` passed, or the gateway has to stop.
        CallerLeft: the caller did not wait for it.
    """
    end: asyncio.Future[Any] = asyncio.ensure_future(_final_event(gateway.hub, key))
    left: asyncio.Future[Any] = asyncio.ensure_future(_disconnected(request))
    over: asyncio.Future[Any] = asyncio.ensure_future(_no_time_left(gateway))
    try:
        await asyncio.wait({end, left, over}, return_when=asyncio.FIRST_COMPLETED)
        if end.done():
            final: End = end.result()
            return final
        if left.done():
            raise CallerLeft
        raise TimeoutError
    finally:
        for task in (end, left, over):
            await _cancel(task)


async def _no_time_left(gateway: Gateway) -> None:
    """Return when the caller must be answered: after `sync_wait_s`, or in the middle of a drain's time."""
    settings = gateway.settings
    with suppress(TimeoutError):
        await asyncio.wait_for(gateway.draining.wait(), settings.sync_wait_s)
        await asyncio.sleep(settings.drain_s / 2)


async def _final_event(hub: EventHub, key: JobKey) -> End:
    async with aclosing(cast(AsyncGenerator[StreamedEvent], hub.stream(key))) as stream:
        async for streamed in stream:
            if streamed.event.type in TERMINAL_TYPES:
                assert isinstance(streamed.event, Completed | Failed | Cancelled)
                return streamed.event
    raise ConnectionError("the event stream ended before the job did")


async def _disconnected(request: Request) -> None:
    """Return when the connection is closed; the body has been read, so nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
