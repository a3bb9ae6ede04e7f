"""One small file for each arm and chunk of pairs, written whole or not at all, so that a run can be cut off.

<folder>/<arm>.<chunk>.npz      what was measured, one row a pair
<folder>/locks/<arm>.<chunk>    held by the process that makes it; the kernel lets go when that one dies
"""

from __future__ import annotations

import fcntl
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]


class Store:
    """A folder of measured items. Several processes may share it.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks = folder / "locks"
        self._locks.mkdir(parents=True, exist_ok=True)
        self._seen: set[str] = set()

    def done(self, arm: str, chunk: int) -> bool:
        """Whether the item is there and whole."""
        key = _key(arm, chunk)
        if key not in self._seen and zipfile.is_zipfile(self._path(key)):
            self._seen.add(key)
        return key in self._seen

    def read(self, arm: str, chunk: int) -> Columns:
        """The item's columns.

        Raises:
            FileNotFoundError: it is not done.
        """
        with np.load(self._path(_key(arm, chunk))) as found:
            return dict(found)

    def write(self, arm: str, chunk: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Store the item; until this returns it is not there."""
        path = self._path(_key(arm, chunk))
        draft = path.with_suffix(f".{os.getpid()}.draft")
        with draft.open("wb") as file:
            np.savez_compressed(file, **columns)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    @contextmanager
    def claim(self, arm: str, chunk: int) -> Iterator[bool]:
        """Whether this process may make the item now: it is not done, and nobody else is at it."""
        with (self._locks / _key(arm, chunk)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield not self.done(arm, chunk)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


def _key(arm: str, chunk: int) -> str:
    return f"{arm}.{chunk}"
