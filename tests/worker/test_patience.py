"""Waiting for a Redis that is away, and ending tasks that will not end."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from protocol.errors import Unavailable
from workers.patience import end, patiently


async def test_outages_are_waited_out() -> None:
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise Unavailable("away")
        return "answer"

    assert await patiently(call, "the test") == "answer"
    assert calls == 3


async def test_our_own_mistakes_are_not() -> None:
    async def call() -> None:
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        await patiently(call, "the test")


async def test_a_swallowed_cancellation_is_repeated() -> None:
    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end([task])
    assert task.cancelled()
