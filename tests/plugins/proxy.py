"""A TCP proxy that lets a request through and then cuts the line before the reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class CutProxy:
    """Stands between clients and a server on 127.0.0.1.

    `cut(needle, times)` arms it: the next `times` requests that hold `needle` are executed by the server, and
    their connections end before the reply arrives.
    """

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._needle = b""
        self.left = 0
        self.seen = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self, needle: bytes, times: int = 1) -> None:
        self._needle, self.left, self.seen = needle, times, 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """The port it listens on."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        cutting = asyncio.Event()
        back = asyncio.create_task(self._replies(up_reader, writer, cutting))
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await self._requests(reader, up_writer, cutting)
        finally:
            writer.close()
            up_writer.close()
            back.cancel()
            ends = (back, writer.wait_closed(), up_writer.wait_closed())
            await asyncio.gather(*ends, return_exceptions=True)
            self._tasks.discard(task)

    async def _requests(
        self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, cutting: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 20):
            if self._needle and self._needle in data:
                self.seen += 1
                if self.left > 0:
                    self.left -= 1
                    cutting.set()
            up.write(data)
            await up.drain()

    async def _replies(
        self, up: asyncio.StreamReader, writer: asyncio.StreamWriter, cutting: asyncio.Event
    ) -> None:
        while data := await up.read(1 << 20):
            if cutting.is_set():
                break  # the server has done it; the client will never hear
            writer.write(data)
            await writer.drain()
        writer.close()
