"""From the store's files to one set of columns an arm, over pairs that all arms have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality_vs_compute.store import Columns, Store

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """An arm and its columns, row i of every arm being pair i. Columns measured on the first pairs only
    (`features`, `feature`, `ode`) are shorter."""

    arm: Any
    columns: Columns

    @property
    def share(self) -> float:
        """Mean spent, as a share of the unabridged run."""
        return float(self.columns["spent"].mean())

    @property
    def latent(self) -> Floats:
        """(n,) distances to the unabridged run."""
        return self.columns["latent"]

    @property
    def mean(self) -> float:
        return float(self.latent.mean())

    def first(self, column: str, count: int) -> Floats:
        return self.columns[column][:count]


def shared_chunks(store: Store, arms: Iterable[Any], chunks: int, size: int) -> int:
    """How many chunks, from the first on, all arms have that were begun and are meant to be so long.

    Args:
        chunks: at most.
        size: pairs of a chunk.
    """
    begun = [arm for arm in arms if store.done(arm.name, 0)]
    for chunk in range(chunks):
        if not begun or not all(store.done(arm.name, chunk) for arm in begun if arm.pairs > chunk * size):
            return chunk
    return chunks


def outcomes(store: Store, arms: Iterable[Any], chunks: int) -> dict[str, Outcome]:
    """Of the arms that were begun, by name: their first chunks without a gap, at most `chunks`."""
    found = {}
    for arm in arms:
        done = takewhile(partial(store.done, arm.name), range(chunks))
        if parts := [store.read(arm.name, chunk) for chunk in done]:
            found[arm.name] = Outcome(arm, _joined(parts))
    return found


def _joined(parts: Sequence[Columns]) -> Columns:
    names = dict.fromkeys(name for part in parts for name in part)
    kept = [name for name in names if name not in ("latents", "images")]
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in kept}
