"""The supervisor's hand on the zygote: start it, have it fork an engine, learn how the engine ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import TypeVar

from workers.packets import PACKET_BYTES, Born, Ended, Ready, Reply, Spawn
from workers.settings import WorkerSettings

_Packet = TypeVar("_Packet", Ready, Born, Ended)


class ZygoteDied(Exception):
    """The zygote ended, and with it the engine it had."""


class Nursery:
    """One zygote and at most one engine of it."""

    def __init__(self, settings: WorkerSettings, board_fd: int, meter_fd: int) -> None:
        self._settings = settings
        self._shared_fds = (board_fd, meter_fd)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self.engine_pid: int | None = None

    async def start(self) -> None:
        """Start a zygote unless one lives, and wait until it has imported everything.

        Raises:
            ZygoteDied: it ended before that.
        """
        if self._process is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._channel = ours
        with theirs:
            self._process = self._launch(theirs.fileno())
        await self._receive(Ready)

    def _launch(self, channel_fd: int) -> subprocess.Popen[bytes]:
        board_fd, meter_fd = self._shared_fds
        options = {"channel": channel_fd, "board": board_fd, "meter": meter_fd, "parent": os.getpid()}
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "workers",
                "engine",
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            pass_fds=(channel_fd, board_fd, meter_fd),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone
            # Read at import: no talk about optional parts, and no thread pool, which a fork would lose. The
            # engine sets its own number of threads.
            env={"TRANSFORMERS_VERBOSITY": "error"} | os.environ | {"OMP_NUM_THREADS": "1"},
        )

    async def spawn(self, worker: str) -> int:
        """Have an engine forked that claims as `worker`; returns its process id.

        Raises:
            ZygoteDied: the zygote is gone.
        """
        packet = Spawn(worker=worker, settings=self._settings).model_dump_json().encode()
        with self._zygote_may_die():
            await asyncio.get_running_loop().sock_sendall(self._open_channel(), packet)
        self.engine_pid = (await self._receive(Born)).pid
        return self.engine_pid

    async def ended(self) -> int:
        """Wait for the engine's end; its exit code, or minus the signal.

        Raises:
            ZygoteDied: the zygote is gone; so is the engine.
        """
        try:
            return (await self._receive(Ended)).code
        finally:
            self.engine_pid = None

    def kill_engine(self) -> None:
        """SIGKILL the engine, also one that is stopped; `ended` tells when it is gone."""
        if self.engine_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.engine_pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL the zygote, and with it the engine; whoever waits for them gets ZygoteDied."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the zygote, and with it the engine, while nobody waits for them."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.engine_pid = None

    def _open_channel(self) -> socket.socket:
        if self._channel is None:
            raise ZygoteDied("there is no zygote")
        return self._channel

    @contextlib.contextmanager
    def _zygote_may_die(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            self.close()
            raise ZygoteDied("the zygote ended") from error

    async def _receive(self, kind: type[_Packet]) -> _Packet:
        channel = self._open_channel()
        with self._zygote_may_die():
            raw = await asyncio.get_running_loop().sock_recv(channel, PACKET_BYTES)
            if not raw:
                raise ConnectionResetError("end of file")
        reply = Reply.validate_json(raw)
        if not isinstance(reply, kind):
            raise RuntimeError(f"the zygote sent {reply!r} where {kind.__name__} was due")
        return reply
