"""The best fixed set of blocks of a given size: what a router has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from workers.core import Network
from workers.training.block_drops import least_missed
from workers.training.flow_matching import sample_sigma
from workers.training.pare.forward import Routes, batch_of, evaluate
from workers.training.pare.sources import Source
from workers.training.resumable import step_seed


@torch.no_grad()
def best_blocks(
    network: Network, source: Source, count: int, *, shift: float, rows: int, seed: int
) -> Tensor:
    """Leave out one block after the other, each time the one that is missed least.

    Missed: by the error of the velocity against that of all blocks, on clips at noise levels as in training.
    The first and the last stay.

    Returns:
        (N,) bool with `count` set.
    """
    generator = torch.Generator().manual_seed(step_seed("pare-static", seed))
    picked = torch.randint(len(source), (rows,), generator=generator)
    clean, sigma = source.latents(picked), sample_sigma(rows, generator, shift)
    noise = torch.randn(clean.shape, generator=generator)
    batch = batch_of(torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1, 1)), sigma, source.text(picked))
    wanted = evaluate(network, batch).velocity

    def error(run: Sequence[bool]) -> float:
        routes = Routes(torch.tensor(run).expand(rows, -1), None)
        return float(mse_loss(evaluate(network, batch, routes=routes).velocity, wanted))

    kept = torch.ones(network.layout.num_blocks, dtype=torch.bool)
    kept[list(islice(least_missed(len(kept), error), len(kept) - count))] = False
    return kept
