"""A Wan network's evaluation in training: some blocks watched, and each block on the rows that run it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from workers.core import Batch, Grid, Network, Stream


@dataclass(frozen=True)
class Routes:
    """Which rows run which blocks.

    Attributes:
        run: (R, N) bool, what is evaluated.
        gate: (R, N), 1 where the block's output is taken and 0 where its input goes on; None: as `run`.
    """

    run: Tensor
    gate: Tensor | None


@dataclass(frozen=True)
class Evaluation:
    """Velocity (R, C, F, h, w), and the watched blocks' outputs (R, S, D)."""

    velocity: Tensor
    features: dict[int, Tensor]


def evaluate(
    network: Network, batch: Batch, *, routes: Routes | None = None, watched: Collection[int] = ()
) -> Evaluation:
    """One evaluation; without `routes` all rows run all blocks. A block that no row runs is not touched.

    A watched block's features are all rows' hidden state behind it, whether they ran it or not.
    """
    stream, features = network.embed(batch), {}
    for index in range(network.layout.num_blocks):
        stream = _through(network, index, stream, routes)
        if index in watched:
            features[index] = stream.hidden[0]
    return Evaluation(network.head(stream), features)


def _through(network: Network, index: int, stream: Stream, routes: Routes | None) -> Stream:
    """One block; the gate blends as equation 12 does, x <- m B(x) + (1 - m) x."""
    if routes is None:
        return stream.set(range(stream.num_rows), network.block(index, stream))
    rows = routes.run[:, index].nonzero().flatten().tolist()
    if not rows:
        return stream
    part = stream.take(rows)
    (tokens,) = network.block(index, part)
    if routes.gate is not None:
        gate = routes.gate[rows, index].view(-1, 1, 1)
        tokens = gate * tokens + (1 - gate) * part.hidden[0]
    return stream.set(rows, (tokens,))


def batch_of(noisy: Tensor, sigma: Tensor, text: Tensor) -> Batch:
    """What a Wan network is fed: noisy latents (B, C, F, h, w), noise levels (B,), text (B, T, D).

    Its grid counts patches of 2 x 2 cells, the only ones Wan 2.1 has.
    """
    _, _, frames, height, width = noisy.shape
    grid = Grid(height // 2, width // 2, frames)
    return Batch(noisy, 1000 * sigma, (text,), (), grid)
