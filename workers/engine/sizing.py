"""How many rows a forward should take: what was measured to be fastest a row."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

_KEPT = 9
_ENOUGH = 3
"""Timings before a size is judged; a size's very first is thrown away, it pays for set-up."""


@dataclass(slots=True)
class _Timings:
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    seen: int = 0
    last_turn: int = 0

    @property
    def known(self) -> bool:
        return len(self.seconds) >= _ENOUGH


class BatchSizes:
    """Batch sizes of one group, measured as they are used.

    All rows ready are taken until a smaller size has shown itself faster a row by `min_gain`. Now and then
    another size is tried, the one not seen for longest, so that a judgement made in a busy minute does not
    stand for ever.
    """

    def __init__(self, *, max_rows: int, min_gain: float, explore_turns: int) -> None:
        self._max_rows = max_rows
        self._min_gain = min_gain
        self._explore_turns = explore_turns
        self._turns = 0
        self._timings: dict[int, _Timings] = {}

    def pick(self, ready: int) -> int:
        """How many of `ready` rows to take, at least 1."""
        self._turns += 1
        limit = max(1, min(ready, self._max_rows))
        if self._turns % self._explore_turns == 0:
            return self._stalest(limit)
        return self._best(limit)

    def record(self, rows: int, seconds: float) -> None:
        """A forward of this many rows took so long."""
        timings = self._timings.setdefault(rows, _Timings())
        if timings.seen:
            timings.seconds.append(seconds)
        timings.seen += 1
        timings.last_turn = self._turns

    def shrink(self, rows: int) -> None:
        """A forward of this many rows did not fit into memory; never take as many again."""
        self._max_rows = max(1, min(self._max_rows, rows // 2))

    def _best(self, limit: int) -> int:
        per_row = {
            rows: median(timings.seconds) / rows
            for rows, timings in self._timings.items()
            if rows <= limit and timings.known
        }
        if limit not in per_row:
            return limit
        best = min(per_row, key=per_row.__getitem__)
        return best if per_row[best] < (1 - self._min_gain) * per_row[limit] else limit

    def _stalest(self, limit: int) -> int:
        """Among 1, 2, 4, ... and `limit`, the size measured longest ago."""
        sizes = [1 << power for power in range(limit.bit_length()) if 1 << power < limit]
        return min([*sizes, limit], key=lambda rows: self._timings.get(rows, _Timings()).last_turn)
