"""One benchmark as several processes of one thread, and the folder that belongs to its settings."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def in_processes(package: str, options: argparse.Namespace, here: Callable[[float], list[str]]) -> list[str]:
    """Run `here` for `options.max_minutes`, or this command line in as many processes as asked for.

    Returns:
        What failed.
    """
    if options.workers == 1:
        return here(options.max_minutes)
    alone = [sys.executable, "-m", package, *sys.argv[1:], "--workers", "1", "--no-report"]
    workers = [subprocess.Popen(alone) for _ in range(options.workers)]
    return [f"process {place}" for place, worker in enumerate(workers) if worker.wait()]


def file_hash(path: Path | None) -> str | None:
    """SHA-256 of a file, if there is one."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None


def settings_hash(given: Sequence[Any]) -> str:
    """A folder's name: equal for equal settings."""
    return hashlib.sha256(json.dumps(given).encode()).hexdigest()[:16]
