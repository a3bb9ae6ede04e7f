"""A real Valkey for tests: one a session, emptied for each test, and others that may be killed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis

from protocol.jobqueue import JobQueue, QueueSettings
from server.valkey import EmbeddedValkey, server_binary

MakeValkey = Callable[[], EmbeddedValkey]
SpawnValkey = Callable[..., int]


@pytest.fixture(scope="session")
def session_valkey() -> Iterator[str]:
    """The URL of the session's server; use `valkey_url`."""
    folder = Path(tempfile.mkdtemp(prefix="rheostat-valkey-"))
    with EmbeddedValkey(folder) as valkey:
        yield valkey.url
    shutil.rmtree(folder)


@pytest.fixture
def valkey_url(session_valkey: str) -> str:
    """The URL of an empty Valkey that is this test's alone."""
    with redis.Redis.from_url(session_valkey) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
    return session_valkey


@pytest.fixture
def make_valkey(tmp_path: Path) -> Iterator[MakeValkey]:
    """Makes servers of the test's own, started, each on its own folder; they may be killed and restarted."""
    made: list[EmbeddedValkey] = []

    def make() -> EmbeddedValkey:
        valkey = EmbeddedValkey(tmp_path / f"valkey-{len(made)}")
        made.append(valkey)
        valkey.start()
        return valkey

    yield make
    for valkey in made:
        valkey.stop()


@pytest_asyncio.fixture
async def jobqueue(valkey_url: str) -> AsyncIterator[JobQueue]:
    """A queue with default settings on an empty server."""
    queue = await JobQueue.connect(valkey_url, QueueSettings())
    yield queue
    await queue.close()


@pytest.fixture
def spawn_valkey(tmp_path: Path) -> Iterator[SpawnValkey]:
    """Starts the bare binary with options of the test's own (cluster, sentinel, ...) and gives its port."""
    made: list[subprocess.Popen[bytes]] = []

    def spawn(*options: str) -> int:
        folder = tmp_path / f"bare-{len(made)}"
        folder.mkdir()
        port = free_port()
        words = [str(server_binary()), *options, "--port", str(port), "--bind", "127.0.0.1"]
        words += ["--dir", str(folder), "--save", ""]
        made.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        _until_listening(port)
        return port

    yield spawn
    for process in made:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "Valkey did not start"
            time.sleep(0.01)
        else:
            return
