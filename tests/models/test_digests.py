"""A remembered digest is the digest, and a changed file is never taken for the old one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from workers.models.digests import sha256_of


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_it_is_the_sha256(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc" * 1000)
    for remembered_bytes in (0, 10**6):
        assert sha256_of(path, remembered_bytes=remembered_bytes, cache=tmp_path / "c") == sha256(
            b"abc" * 1000
        )


def test_large_files_are_read_once(tmp_path: Path) -> None:
    """The proof is a lie planted in the memory: it comes back, so the file was not read."""
    path, cache = tmp_path / "weights", tmp_path / "c"
    path.write_bytes(b"abc")
    sha256_of(path, remembered_bytes=1, cache=cache)
    (entry,) = cache.iterdir()
    entry.write_text("f" * 64)
    assert sha256_of(path, remembered_bytes=1, cache=cache) == "f" * 64
    assert sha256_of(path, remembered_bytes=4, cache=cache) == sha256(b"abc")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "c"
    for second, data in enumerate((b"abc", b"abd", b"longer")):
        path.write_bytes(data)
        os.utime(path, (second, second))  # two writes may fall into one tick of the clock
        assert sha256_of(path, remembered_bytes=1, cache=cache) == sha256(data)


def test_a_broken_memory_is_done_without(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "c"
    path.write_bytes(b"abc")
    cache.write_text("a file where the folder should be")
    assert sha256_of(path, remembered_bytes=1, cache=cache) == sha256(b"abc")
    cache.unlink()
    sha256_of(path, remembered_bytes=1, cache=cache)
    (entry,) = cache.iterdir()
    entry.write_text("")
    assert sha256_of(path, remembered_bytes=1, cache=cache) == sha256(b"abc")
