"""The whole system on one machine: Valkey, one gateway, workers. What `rheostat up` runs.

Parts stop in the order gateway, workers, Valkey: no new work, then no running work, then the memory of it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from redis import Redis

from protocol import keys
from server.listening import listen
from server.places import NOTE_FILE
from server.processes import Child, ChildFailed
from server.valkey import EmbeddedValkey, ValkeyError

READY_TIMEOUT_S = 600.0
GATEWAY_GRACE_S = 15.0
WORKER_GRACE_S = 40.0
"""Longer than a worker's own drain."""


@dataclass(frozen=True)
class LocalOptions:
    """What runs. Port 0 takes a free one; without `redis_url` Valkey is ours; `quiet` sends logs to files."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    models: str | None = None
    workers: int = 1
    redis_url: str | None = None
    quiet: bool = False


class LocalSystem:
    """Start it, tend it, stop it; `stop` may be called at any point and twice."""

    def __init__(self, options: LocalOptions) -> None:
        self._options = options
        self._valkey: EmbeddedValkey | None = None
        self._listener: socket.socket | None = None
        self._note: Path | None = None
        self._gateway: Child | None = None
        self._workers: list[Child] = []

    @property
    def url(self) -> str:
        assert self._listener is not None, "started"
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"http://{host}:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        """Start every part, without waiting for readiness.

        Raises:
            AddressTaken: the port is another program's.
            ChildFailed: the data directory is another system's, or Valkey does not start.
        """
        options = self._options
        options.data_dir.mkdir(parents=True, exist_ok=True)
        self._listener = listen(options.host, options.port)
        redis_url = options.redis_url or self._start_valkey()
        shared = ["--redis-url", redis_url, "--artifacts", str(options.data_dir / "artifacts")]
        shared += ["--log-format", "text"]
        self._gateway = self._child("gateway", ["server", "server", *self._gateway_arguments(), *shared])
        models = [] if options.models is None else ["--models", options.models]
        self._workers = [
            self._child(f"worker-{index}", ["workers", "worker", *shared, *models])
            for index in range(options.workers)
        ]
        for child in self._children():
            child.start()
        note = options.data_dir / NOTE_FILE
        note.write_text(json.dumps({"url": self.url, "pid": os.getpid()}))
        self._note = note

    def wait_ready(self, keep_waiting: Callable[[], bool] = lambda: True) -> None:
        """Return when requests are served, or when `keep_waiting` says no.

        Raises:
            ChildFailed: a part ended meanwhile, or time ran out.
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        while keep_waiting():
            for child in self._children():
                child.require_alive()
            if self._is_ready():
                return
            if time.monotonic() > deadline:
                raise ChildFailed(f"not ready after {READY_TIMEOUT_S:.0f} s")
            time.sleep(0.1)

    def tend(self) -> None:
        """Start again what has fallen over. Jobs survive: Valkey keeps them, in its file on the disk."""
        if self._valkey is not None and not _lives(self._valkey.pid):
            print("Valkey ended; starting it again", file=sys.stderr)
            self._valkey.kill()
            self._valkey.start()
        for child in self._children():
            child.tend()

    def stop(self) -> None:
        """Drain and end every part, in order."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._note is not None:
            # Only a note of our own: the folder may be another system's.
            self._note.unlink(missing_ok=True)
            self._note = None
        if self._gateway is not None:
            self._gateway.stop(GATEWAY_GRACE_S)
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.stop(WORKER_GRACE_S)
        if self._valkey is not None:
            self._valkey.stop()

    def _start_valkey(self) -> str:
        self._valkey = EmbeddedValkey(self._options.data_dir)
        try:
            url = self._valkey.start()
        except ValkeyError as error:
            raise ChildFailed(str(error)) from error
        with Redis.from_url(url) as redis:
            # Nobody works yet: whoever is listed died with the last system and would make us ready early.
            redis.delete(keys.WORKERS)
        return url

    def _gateway_arguments(self) -> list[str]:
        assert self._listener is not None, "listening"
        fd = str(self._listener.fileno())
        return ["--host", self._options.host, "--listen-fd", fd, "--ready-needs-worker"]

    def _child(self, name: str, module_arguments: list[str]) -> Child:
        log = None
        if self._options.quiet:
            log = self._options.data_dir / "logs" / f"{name}.log"
            log.parent.mkdir(exist_ok=True)
        fds = [self._listener.fileno()] if name == "gateway" and self._listener is not None else []
        return Child(name, module_arguments, log=log, pass_fds=fds)

    def _children(self) -> list[Child]:
        return [child for child in (self._gateway, *self._workers) if child is not None]

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False


def _lives(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
