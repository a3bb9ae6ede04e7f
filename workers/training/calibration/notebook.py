"""What a calibration has found so far, so that one that was stopped goes on."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)


class OutOfTime(Exception):
    """The minutes given are over; what was found is kept."""


class Notebook:
    """Results by name, a JSON file each.

    Args:
        folder: of this model's weights and these prompts.
        max_minutes: no new entry is begun after this; None: no limit.
    """

    def __init__(self, folder: Path, max_minutes: float | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ends = None if max_minutes is None else time.monotonic() + 60 * max_minutes

    def entry(self, name: str, find: Callable[[], Any]) -> Any:
        """The entry of that name; found now if it is not there.

        Args:
            find: what it holds, something JSON can carry.

        Raises:
            OutOfTime: it would have to be found now.
        """
        path = self._folder / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text())
        if self._ends is not None and time.monotonic() > self._ends:
            raise OutOfTime(name)
        started = time.monotonic()
        found = find()
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(found))
        partial.rename(path)
        _LOG.info("%s: %.0f s", name, time.monotonic() - started)
        return json.loads(path.read_text())
