"""The best fixed set of blocks of a given size: what a router has to beat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from workers.core import Network
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
    kept = torch.ones(network.layout.num_blocks, dtype=torch.bool)

    def error(left_out: int) -> float:
        run = kept.clone()
        run[left_out] = False
        routes = Routes(run.expand(rows, -1), None)
        return float(mse_loss(evaluate(network, batch, routes=routes).velocity, wanted))

    while int(kept.sum()) > count:
        inner = [index for index in kept.nonzero().flatten().tolist() if 0 < index < len(kept) - 1]
        kept[min(inner, key=error)] = False
    return kept
