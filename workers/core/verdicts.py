"""What a cache may answer for a row: run on, jump ahead, or be done.

| at `begin`   | at a cut         | what happens                                              |
|--------------|------------------|-----------------------------------------------------------|
| Go(0, u)     | Go(cut, u)       | blocks [cut, u) run; at u < num_blocks the cache is asked |
|              | Go(0, u)         | the row starts again from its embedding                   |
|              | Jump(to, hidden) | the row's hidden is replaced, blocks [to, num_blocks) run |
| Emit(output) | Emit(output)     | the row leaves the forward with this output               |

After block num_blocks - 1 comes the head, unless the row got there by a Jump with `ask`: then the cache is
asked once more at num_blocks (a verified draft), and Go(num_blocks, num_blocks) goes on to the head.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from workers.core.stream import Hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the receipt shows of a decision; `reason` is a word or two, see `protocol.receipts.StepLine`."""

    risk: float | None = None
    threshold: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Go(_Told):
    """Run blocks [start, until). `keep` names cuts at which the row's hidden is kept for `Cache.end`."""

    start: int
    until: int
    keep: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Jump(_Told):
    """Go on before block `to` with `hidden` (one entry a lane); `to` = num_blocks runs the head alone."""

    to: int
    hidden: Hidden
    ask: bool = False


@dataclass(frozen=True, slots=True)
class Emit(_Told):
    """Nothing more runs: `output` (lanes, S, C) is the row's."""

    output: Tensor


Verdict = Go | Jump | Emit
