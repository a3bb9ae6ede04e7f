"""SHA-256 of files, remembered for large ones: a restarting engine must not read 30 GB to know them again.

What is remembered is bound to the file's path, size, inode and time of change to the nanosecond; a file that
differs in any of them is read again. The memory is a cache: unreadable or unwritable, it is done without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

REMEMBERED_BYTES = 64 * 2**20
"""Smaller files are simply read."""
CHUNK_BYTES = 1 << 22


def cache_folder() -> Path:
    """Where this user's caches are (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rheostat" / "digests"


def sha256_of(path: Path, *, remembered_bytes: int = REMEMBERED_BYTES, cache: Path | None = None) -> str:
    """The file's SHA-256 in hex.

    Args:
        path: any file.
        remembered_bytes: files of at least this size are looked up in, and added to, the cache.
        cache: its folder; None: this user's.
    """
    status = path.stat()
    if status.st_size < remembered_bytes:
        return _read(path)
    identity = [str(path.resolve()), status.st_size, status.st_ino, status.st_mtime_ns]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    entry = (cache or cache_folder()) / name
    with contextlib.suppress(OSError):
        known = entry.read_text("ascii")
        if len(known) == 64:
            return known
    digest = _read(path)
    with contextlib.suppress(OSError):
        _write(entry, digest)
    return digest


def _write(entry: Path, digest: str) -> None:
    """In one rename, so that a reader never meets half of it."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    fresh = entry.with_name(f"{entry.name}.{os.getpid()}")
    fresh.write_text(digest, "ascii")
    fresh.replace(entry)


def _read(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
