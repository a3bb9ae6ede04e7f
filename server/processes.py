"""Child processes that cannot outlive us, and that are started again when they fall over.

Linux only: the kernel kills a child when the thread that made it ends, so children are made from the main
thread.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from protocol.errors import RheostatError
from server.launcher import tied_to_us

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
CALM_S = 60.0
"""A child that ran this long begins again with the first pause."""


class ChildFailed(RheostatError):
    """A part of the system ended when it should not have."""

    default_code = "child_failed"


class Child:
    """One part of the system, run as `python -m ...` in a session of its own.

    The session keeps a terminal's Ctrl-C away from it: the parent decides who stops when.
    """

    def __init__(
        self,
        name: str,
        module_arguments: Sequence[str],
        *,
        log: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Args:
        log: a file for what it writes; None: our own standard error.
        pass_fds: file descriptors it inherits.
        """
        self.name = name
        self._command = [sys.executable, "-m", *module_arguments]
        self._log = log
        self._pass_fds = tuple(pass_fds)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._ended: float | None = None

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        output = None if self._log is None else self._log.open("ab")
        try:
            self._process = subprocess.Popen(
                tied_to_us(self._command, signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=2 if output is None else output,
                stderr=output,
                pass_fds=self._pass_fds,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()
        self._started, self._ended = time.monotonic(), None

    def tend(self) -> None:
        """Start it again if it has ended, after a pause that doubles while it keeps ending."""
        if self.exit_code is None:
            return
        now = time.monotonic()
        if self._ended is None:
            self._ended = now
            calm = now - self._started > CALM_S
            self._pause_s = FIRST_PAUSE_S if calm else min(MAX_PAUSE_S, 2 * self._pause_s)
            print(f"{self.name} ended with {self.exit_code}; starting it again", file=sys.stderr)
        if now - self._ended >= self._pause_s:
            self.start()

    def require_alive(self) -> None:
        """Raises ChildFailed with the end of its log if it has ended."""
        if self.exit_code is not None:
            raise ChildFailed(f"{self.name} ended with exit code {self.exit_code}{self._last_words()}")

    def ask_to_stop(self) -> None:
        if self._process is not None and self.exit_code is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, grace_s: float) -> None:
        """Ask it to end, and end it after `grace_s`."""
        self.ask_to_stop()
        if self._process is None:
            return
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        lines = self._log.read_text(errors="replace").splitlines()[-8:]
        return f"; the end of {self._log}:\n" + "\n".join(lines)
