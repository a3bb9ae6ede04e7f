"""Rows on their way through a network, and the only ways to change who is among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.core.layout import Grid

Hidden = tuple[Tensor, ...]
"""What blocks change, each (R, S, D). The first is the tokens being denoised; FLUX adds its text."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a network is fed: one row a lane.

    Args:
        latents: (R, S, C), or (R, C, F, h, w) where the network makes its tokens itself, or tokens (R, S) of
            discrete models, int64; contiguous.
        timestep: (R,), float32, as the network's schedule says.
        condition: per-row tensors (R, ...), their meaning known to the family.
        scalars: per-row numbers (R,), float32, likewise.
        grid: the token grid all rows share.
    """

    latents: Tensor
    timestep: Tensor
    condition: tuple[Tensor, ...]
    scalars: tuple[Tensor, ...]
    grid: Grid


@dataclass(frozen=True, slots=True)
class Stream:
    """R rows between two blocks. Tensors are never written in place, so a kept one stays what it was.

    Args:
        hidden: what blocks change.
        fixed: per row and read only (R, ...): the time embedding, a context.
        shared: the same for all rows: rotary tables.
        signal: (R, S, D) or None; the first block's modulated input, if it was asked for.
    """

    hidden: Hidden
    fixed: tuple[Tensor, ...]
    shared: tuple[Tensor, ...]
    signal: Tensor | None = None

    @property
    def num_rows(self) -> int:
        return self.hidden[0].shape[0]

    def take(self, rows: Sequence[int]) -> Stream:
        """The rows named, in that order. Copies nothing when that is all of them."""
        if list(rows) == list(range(self.num_rows)):
            return self
        index = torch.tensor(list(rows), device=self.hidden[0].device)
        return self._each(lambda tensor: tensor.index_select(0, index))

    def set(self, rows: Sequence[int], hidden: Hidden) -> Stream:
        """The same stream with `hidden` (one entry a named row) in place of these rows' own."""
        if list(rows) == list(range(self.num_rows)):
            return replace(self, hidden=hidden)
        index = torch.tensor(list(rows), device=self.hidden[0].device)
        return replace(
            self,
            hidden=tuple(old.index_copy(0, index, new) for old, new in zip(self.hidden, hidden, strict=True)),
        )

    def put(self, rows: Sequence[int], other: Stream) -> Stream:
        """The same stream with `other`'s hidden rows in these places."""
        return self.set(rows, other.hidden)

    @staticmethod
    def cat(streams: Sequence[Stream]) -> Stream:
        """All rows of all streams, in order. The shared part is the first one's."""
        if len(streams) == 1:
            return streams[0]
        signals = [stream.signal for stream in streams if stream.signal is not None]
        return Stream(
            hidden=_cat([stream.hidden for stream in streams]),
            fixed=_cat([stream.fixed for stream in streams]),
            shared=streams[0].shared,
            signal=torch.cat(signals) if len(signals) == len(streams) else None,
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> Stream:
        return Stream(
            hidden=tuple(change(tensor) for tensor in self.hidden),
            fixed=tuple(change(tensor) for tensor in self.fixed),
            shared=self.shared,
            signal=None if self.signal is None else change(self.signal),
        )


def _cat(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
