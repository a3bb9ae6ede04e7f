"""The four things the engine is built from. Whoever implements one knows nothing of the others.

All decisions are per row: an answer for one row may depend on that row's sample and on nothing else in the
batch. `Cache.begin`, `Cache.at` and `Router.mask` may be asked again for the same evaluation (a failed
forward is repeated row by row), so they change nothing; `Cache.end` comes once an evaluation and is where a
sample's anchors and control numbers move on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from workers.core.layout import Layout
from workers.core.sample import Point, Row, Sample, Schedule, SolverState
from workers.core.stream import Batch, Hidden, Stream
from workers.core.verdicts import Emit, Go, Verdict

Kept = Mapping[int, Hidden]
"""Cuts, and a row's hidden there, one entry a lane."""


class Network(Protocol):
    """A family's adapter over its modules. It alone knows block signatures, row isolation, sharding, LoRA."""

    @property
    def layout(self) -> Layout: ...

    def embed(self, batch: Batch, signal: bool = False) -> Stream:
        """Rows before block 0; with `signal` also the first block's modulated input."""
        ...

    def block(self, index: int, stream: Stream) -> Hidden:
        """What block `index` makes of the stream's rows. Does not change the stream."""
        ...

    def head(self, stream: Stream) -> Tensor:
        """The network's output, shaped as its latents, for rows after the last block."""
        ...


class Solver(Protocol):
    """An update rule, asked and told. Its memory is `Sample.solver` and `Sample.latents`, never itself."""

    def ask(self, sample: Sample) -> Point | None:
        """Where to evaluate next; None when the sample is finished. Changes nothing."""
        ...

    def tell(self, sample: Sample, output: Tensor) -> None:
        """Take the guided network output (1, S, C) for the point last asked, and count the evaluation."""
        ...


class ScheduledSolver(Solver, Protocol):
    """A solver of flows, which follows a schedule."""

    def start(self, schedule: Schedule, dtype: torch.dtype) -> SolverState:
        """A new sample's memory: all that can be worked out once a run, for latents of `dtype`."""
        ...


class Cache(Protocol):
    """A method that may answer for the network. See `workers.core.verdicts` for what each answer means."""

    @property
    def wants_signal(self) -> bool:
        """Whether `at` reads `Stream.signal`."""
        ...

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        """Before anything runs. A row's `lanes` mean nothing yet."""
        ...

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        """Before block `cut`; `stream` holds these rows and no others, at the places their `lanes` say."""
        ...

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        """After the evaluation, once: each row's output (lanes, S, C) and what it kept (None: no head ran).

        `Sample.evaluation` still counts this evaluation as not done.

        Returns:
            What each row's solver is told: the outputs themselves, or corrected ones.
        """
        ...


class Router(Protocol):
    """A method that leaves blocks out."""

    def mask(self, rows: Sequence[Row], points: Sequence[Point]) -> Sequence[tuple[bool, ...]]:
        """For each row and block, whether it runs. One answer a sample, for all its lanes."""
        ...
