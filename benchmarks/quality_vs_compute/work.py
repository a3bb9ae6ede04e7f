"""The loop over arms and chunks: chunk by chunk, the most wanted arm first, by one process or several."""

from __future__ import annotations

import hashlib
import os
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality_vs_compute.arms import FULL, ODE, Arm
from benchmarks.quality_vs_compute.execute import Studio
from benchmarks.quality_vs_compute.references import NEEDS, References, measured
from benchmarks.quality_vs_compute.store import Columns, Store

_ROOT = Path(__file__).parents[2]
_CODE = (
    "protocol",
    "workers/core",
    "workers/models",
    "workers/sampling",
    "workers/acceleration",
    "workers/engine",
)
_PAUSE_S = 0.5


@dataclass(frozen=True)
class Item:
    """One arm on one chunk of pairs, of whatever benchmark: an arm has a name, a group, pairs and a rank."""

    arm: Any
    chunk: int
    pairs: tuple[Any, ...]

    @property
    def key(self) -> tuple[str, int]:
        return self.arm.name, self.chunk


def items(arms: Iterable[Any], pairs: Sequence[Any], chunk: int) -> list[Item]:
    """All items in the order they are wanted.

    Args:
        pairs: as many as the longest arm has, at least.
        chunk: pairs of one item.
    """
    found = [
        Item(arm, start // chunk, tuple(pairs[start : start + chunk]))
        for arm in arms
        for start in range(0, arm.pairs, chunk)
    ]
    return sorted(found, key=lambda item: (item.chunk, item.arm.rank))


def needed(arm: Arm) -> Sequence[str]:
    """The references an arm is held against."""
    return NEEDS.get(arm.line, (FULL, ODE))


def work(
    store: Store,
    wanted: Sequence[Item],
    make: Callable[[Item], Columns],
    minutes: float,
    needs: Callable[[Any], Sequence[str]] = needed,
) -> list[str]:
    """Make what is not done until all is, or the time is up; no item is begun after that.

    Args:
        needs: of an arm, the references that must be done before it.

    Returns:
        Names of the arms that failed here. Their traceback is printed, the others go on.

    Raises:
        Exception: whatever making a reference raised: nothing can be held against it.
    """
    ends, failed = time.monotonic() + 60 * minutes, set[str]()
    keys = frozenset(item.key for item in wanted)
    while time.monotonic() < ends:
        left = [item for item in wanted if item.arm.name not in failed and not store.done(*item.key)]
        if not left:
            break
        if not any(
            _made(store, item, make, failed) for item in left if _ready(store, item, keys, needs(item.arm))
        ):
            time.sleep(_PAUSE_S)  # others are at what is left, or at the references it waits for
    return sorted(failed)


def _ready(store: Store, item: Item, wanted: frozenset[tuple[str, int]], needs: Sequence[str]) -> bool:
    """Whether the references it is held against are done, as far as they are wanted."""
    return all((name, item.chunk) not in wanted or store.done(name, item.chunk) for name in needs)


def _made(store: Store, item: Item, make: Callable[[Item], Columns], failed: set[str]) -> bool:
    """Make the item unless another process has it. True if this one tried."""
    with store.claim(*item.key) as mine:
        if not mine:
            return False
        started = time.monotonic()
        try:
            store.write(*item.key, make(item))
        except Exception:
            if item.arm.group == "reference":
                raise
            failed.add(item.arm.name)
            traceback.print_exc()
        else:
            print(f"{item.chunk:3} {item.arm.name:40} {time.monotonic() - started:7.1f} s", flush=True)
    return True


def make_with(studio: Studio, store: Store) -> Callable[[Item], Columns]:
    """How an item is made: run, measured, and stamped with the code and the load it was run under."""

    def make(item: Item) -> Columns:
        load = os.getloadavg()[0]
        made = studio.make(item.arm, item.pairs)
        held = NEEDS.get(item.arm.line) != ()
        references = References.read(store, item.chunk) if held else None
        return stamped(measured(item.arm, item.pairs, made, references), len(item.pairs), load)

    return make


def stamped(columns: Columns, count: int, load: float) -> Columns:
    """The columns with the code they were made by and the machine's load before."""
    return columns | {"load": np.full(count, load), "code": np.full(count, code_version())}


@cache
def code_version() -> str:
    """Names the sources that decide what a run computes; items of several versions do not go together."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in _CODE for path in (_ROOT / folder).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
