"""A TCP proxy before Redis that swallows the replies of chosen scripts and cuts the connection instead."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self


class CuttingProxy:
    """Of each named script's calls, two in three have their effect and lose their reply.

    Args:
        port: of the server behind.
        shas: script name -> SHA-1, by which calls are recognised.
    """

    def __init__(self, port: int, shas: Mapping[str, str]) -> None:
        self._upstream_port = port
        self._names = {sha.encode(): name for name, sha in shas.items()}
        self._calls: Counter[str] = Counter()
        self._open: set[asyncio.Task[None]] = set()
        self.cuts: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        doomed = asyncio.Event()
        ways = [
            asyncio.create_task(self._forward_calls(reader, up_writer, doomed)),
            asyncio.create_task(self._forward_replies(up_reader, writer, doomed)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.transport.abort()
            up_writer.transport.abort()

    async def _forward_calls(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while chunk := await reader.read(1 << 16):
            for sha, name in self._names.items():
                if sha in chunk:
                    self._calls[name] += 1
                    if self._calls[name] % 3:
                        self.cuts[name] += 1
                        doomed.set()
            writer.write(chunk)
            await writer.drain()

    @staticmethod
    async def _forward_replies(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while chunk := await reader.read(1 << 16):
            if doomed.is_set():
                return
            writer.write(chunk)
            await writer.drain()
