"""What every adapter is held to: its own evaluation, rows that cannot mix, threads that do not matter."""

from __future__ import annotations

from typing import Any

import torch

from workers.core import Batch


def evaluate(model: Any, batch: Batch) -> torch.Tensor:
    """Embed, all blocks, head."""
    stream = model.network.embed(batch)
    for index in range(model.network.layout.num_blocks):
        stream = stream.set(range(stream.num_rows), model.network.block(index, stream))
    output: torch.Tensor = model.network.head(stream)
    return output


def assert_rows_are_isolated(model: Any, batch: Batch) -> None:
    """Every row of the batch gives the bits of its evaluation alone."""
    together = evaluate(model, batch)
    for row in range(len(together)):
        here = slice(row, row + 1)
        alone = Batch(
            batch.latents[here],
            batch.timestep[here],
            tuple(part[here] for part in batch.condition),
            tuple(part[here] for part in batch.scalars),
            batch.grid,
        )
        assert torch.equal(evaluate(model, alone), together[here])


def assert_threads_change_nothing(model: Any, batch: Batch) -> None:
    """Two threads give the bits of one."""
    threads, one = torch.get_num_threads(), evaluate(model, batch)
    torch.set_num_threads(2)
    try:
        assert torch.equal(evaluate(model, batch), one)
    finally:
        torch.set_num_threads(threads)
