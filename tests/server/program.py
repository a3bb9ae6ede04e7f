"""`rheostat up` as a person runs it: a program with a data directory, to be interrupted and killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import psutil

from server.places import NOTE_FILE

READY_S = 60.0


def rheostat(*words: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "server", *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Up:
    """One `rheostat up` on a free port."""

    def __init__(self, data_dir: Path, model: Path, log: Path, *more: str) -> None:
        self.data_dir = data_dir
        self._words = ["up", "--port", "0", "--data-dir", str(data_dir), "--models", str(model), *more]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.family: list[psutil.Process] = []

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server", *self._words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(lambda: "is ready at" in self.log, READY_S, lambda: f"ready; log:\n{self.log[-2000:]}")
        self.family = psutil.Process(self.pid).children(recursive=True)

    @property
    def pid(self) -> int:
        assert self._process is not None, "started"
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def url(self) -> str:
        url: str = json.loads((self.data_dir / NOTE_FILE).read_text())["url"]
        return url

    def child(self, *words: str) -> psutil.Process:
        """The living child whose command holds all the words."""
        for process in psutil.Process(self.pid).children(recursive=True):
            if all(word in " ".join(process.cmdline()) for word in words):
                return process
        raise AssertionError(f"no child with {words}")

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it however it stands."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)

    def require_no_orphan(self, within_s: float = 10.0) -> None:
        until(lambda: not living(self.family), within_s, lambda: f"all gone: {living(self.family)}")


def living(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def until(holds: Callable[[], bool], within_s: float, what: Callable[[], str]) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what()}"
        time.sleep(0.05)


def job_of(url: str, job_id: str) -> dict[str, object]:
    job: dict[str, object] = httpx.get(f"{url}/v1/generations/{job_id}", timeout=20).json()
    return job


def ended(url: str, job_id: str, within_s: float = 30.0) -> dict[str, object]:
    until(
        lambda: job_of(url, job_id).get("status") in ("completed", "failed", "cancelled"),
        within_s,
        lambda: f"ended: {job_of(url, job_id)}",
    )
    return job_of(url, job_id)
