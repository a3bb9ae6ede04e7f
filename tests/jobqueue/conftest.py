"""Queues with settings of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest_asyncio

from protocol.jobqueue import JobQueue, QueueSettings
from tests.jobqueue.support import check_books

MakeQueue = Callable[..., Awaitable[JobQueue]]


@pytest_asyncio.fixture
async def make_queue(valkey_url: str) -> AsyncIterator[MakeQueue]:
    """Makes queues on the test's empty server; when the test is over, the books of each must be right."""
    made: list[JobQueue] = []

    async def make(url: str = valkey_url, **settings: Any) -> JobQueue:
        made.append(await JobQueue.connect(url, QueueSettings(**settings)))
        return made[-1]

    yield make
    try:
        for queue in made:
            if queue.settings.partitions == 1:
                await check_books(queue)
    finally:
        for queue in made:
            await queue.close()


@pytest_asyncio.fixture
async def queue(make_queue: MakeQueue) -> JobQueue:
    return await make_queue()
