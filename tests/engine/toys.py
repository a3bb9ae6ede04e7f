"""Test-only implementations of core's protocols: a network worked by hand, and the smallest caches and
routers.

They are what the methods of later issues look like to the engine: an output-level cache, a first-block cache,
a verified draft, and a router.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from protocol.cost import DenoiserCost
from protocol.plan import Plan
from workers.core import (
    Anchor,
    Batch,
    Condition,
    Emit,
    Go,
    Grid,
    Hidden,
    Jump,
    Layout,
    Ledger,
    Point,
    Prediction,
    Row,
    Sample,
    Schedule,
    Stack,
    Stream,
    Verdict,
)
from workers.sampling import make_solver

Kept = Mapping[int, Hidden]


@dataclass
class Doubling:
    """Every block doubles, the head adds 1; embed costs 1, block i costs 10 + i, the head 100 FLOP a row.

    `calls` has a line a block call: the block and how many rows it saw.
    """

    num_blocks: int = 2
    calls: list[tuple[int, int]] = field(default_factory=list)
    poison: float | None = None

    @property
    def layout(self) -> Layout:
        blocks = tuple(10 + index for index in range(self.num_blocks))
        return Layout(self.num_blocks, 2, Prediction.FLOW, lambda grid: DenoiserCost(1, blocks, 100))

    def embed(self, batch: Batch, signal: bool = False) -> Stream:
        return Stream((batch.latents,), (batch.timestep,), (), batch.latents if signal else None)

    def block(self, index: int, stream: Stream) -> Hidden:
        self.calls.append((index, stream.num_rows))
        if self.poison is not None and bool((stream.hidden[0] == self.poison).any()):
            raise RuntimeError("poisoned")
        return (2 * stream.hidden[0],)

    def head(self, stream: Stream) -> Tensor:
        return stream.hidden[0] + 1


def make_sample(
    key: str, value: float, *, steps: int = 4, lanes: int = 1, stack: Stack | None = None, scale: float = 1.0
) -> Sample:
    """A sample whose latents are one number, on a schedule of equal steps."""
    schedule = Schedule(
        tuple(1 - index / steps for index in range(steps + 1)),
        tuple(1000 * (1 - index / steps) for index in range(steps)),
    )
    return Sample(
        key=key,
        seed=0,
        plan=Plan(methods=(), num_inference_steps=steps, solver="euler", granted_flop=1, full_flop=1),
        grid=Grid(1, 1),
        lanes=(Condition(()),) * lanes,
        guidance_scale=scale,
        latents=torch.tensor([[[float(value)]]]),
        solver=make_solver("euler").start(schedule, torch.float32),
        stack=stack or Stack(),
        ledger=Ledger(1),
    )


def _anchor(row: Row, output: Tensor, kept: Kept) -> Anchor:
    sample = row.sample
    return Anchor(sample.evaluation, 0.0, sample.latents, None, dict(kept), output)


@dataclass
class Interval:
    """Every `every`-th evaluation is full; between them the last output stands."""

    num_blocks: int
    every: int = 2
    wants_signal: bool = False

    def begin(self, rows: Sequence[Row]) -> list[Go | Emit]:
        return [self._answer(row.sample) for row in rows]

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> list[Verdict]:
        raise AssertionError("never asked: it goes all the way or not at all")

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        for row, output, cuts in zip(rows, outputs, kept, strict=True):
            if cuts is not None:
                row.sample.anchors = [_anchor(row, output, cuts)]
        return outputs

    def _answer(self, sample: Sample) -> Go | Emit:
        if sample.evaluation % self.every:
            return Emit(sample.anchors[-1].output, risk=0.25, threshold=0.5)
        return Go(0, self.num_blocks)


@dataclass
class FirstBlock:
    """Runs block 0; where its output moved little since the anchor, adds the other blocks' last residual."""

    num_blocks: int
    threshold: float
    wants_signal: bool = False

    def begin(self, rows: Sequence[Row]) -> list[Go | Emit]:
        return [Go(0, 1)] * len(rows)

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> list[Verdict]:
        return [self._answer(row, stream.take(row.lanes)) for row in rows]

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        for row, output, cuts in zip(rows, outputs, kept, strict=True):
            if cuts:
                row.sample.anchors = [_anchor(row, output, cuts)]
        return outputs

    def _answer(self, row: Row, stream: Stream) -> Verdict:
        rest = Go(1, self.num_blocks, keep=(1, self.num_blocks))
        if not row.sample.anchors:
            return rest
        before, after = row.sample.anchors[-1].kept[1], row.sample.anchors[-1].kept[self.num_blocks]
        moved = (stream.hidden[0] - before[0]).abs().mean() / before[0].abs().mean()
        if float(moved) >= self.threshold:
            return rest
        residual = (last - first for first, last in zip(before, after, strict=True))
        hidden = tuple(now + more for now, more in zip(stream.hidden, residual, strict=True))
        return Jump(self.num_blocks, hidden, risk=float(moved), threshold=self.threshold)


@dataclass
class Draft:
    """Drafts the hidden state before the last block, runs that block, and keeps or rejects what comes out."""

    num_blocks: int
    reject: bool
    wants_signal: bool = False

    def begin(self, rows: Sequence[Row]) -> list[Go | Emit]:
        return [Go(0, 0)] * len(rows)

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> list[Verdict]:
        return [self._answer(row.sample, cut) for row in rows]

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        for row, output, cuts in zip(rows, outputs, kept, strict=True):
            if cuts:
                row.sample.anchors = [_anchor(row, output, cuts)]
        return outputs

    def _answer(self, sample: Sample, cut: int) -> Verdict:
        last = self.num_blocks - 1
        if cut == self.num_blocks:
            return Go(0, cut, keep=(last,)) if self.reject else Go(cut, cut)
        if not sample.anchors:
            return Go(0, self.num_blocks, keep=(last,))
        return Jump(last, sample.anchors[-1].kept[last], ask=True)


@dataclass
class Drop:
    """Leaves out the blocks named, at every evaluation but the first."""

    num_blocks: int
    dropped: tuple[int, ...]

    def mask(self, rows: Sequence[Row], points: Sequence[Point]) -> list[tuple[bool, ...]]:
        return [
            tuple(index not in self.dropped or row.sample.evaluation == 0 for index in range(self.num_blocks))
            for row in rows
        ]
