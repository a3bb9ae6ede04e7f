"""A routed student in its teacher's place in diffusers' pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from protocol.catalog import CatalogEntry
from protocol.cost import denoiser_cost, own_cost
from workers.core import Network
from workers.training.pare.forward import batch_of, evaluate
from workers.training.pare.routing import Chooser
from workers.training.resumable import step_seed


class RoutedTransformer(nn.Module):
    """Stands in for a pipeline's transformer; each row runs the blocks chosen for it at each step.

    Args:
        transformer: the student's; its config, dtype and device are shown.
        network: over it.
        seed: of a random chooser's dice, which fall alike for a row's place and noise level.
    """

    def __init__(self, transformer: Any, network: Network, chooser: Chooser, seed: int = 0) -> None:
        super().__init__()
        self._inner, self._network, self._chooser = transformer, network, chooser
        self._seed, self._sigma = seed, 0.0

    @property
    def config(self) -> Any:
        return self._inner.config

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self._inner.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        device: torch.device = self._inner.device
        return device

    @contextmanager
    def cache_context(self, _name: str, *, sigma: float, **_about: Any) -> Iterator[None]:
        """The pipeline tells the exact noise level here; its timesteps are cut to integers."""
        self._sigma = sigma
        yield

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        attention_kwargs: None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """The velocity; K follows the exact noise level, network and router see the pipeline's timestep."""
        batch = batch_of(hidden_states, timestep.float() / 1000, encoder_hidden_states)
        exact = torch.full_like(batch.timestep, self._sigma)
        dice = torch.Generator().manual_seed(step_seed("pare-dice", self._seed, self._sigma))
        routes = self._chooser.routes(batch, dice, levels=exact)
        return (evaluate(self._network, batch, routes=routes).velocity,)


def compute_share(entry: CatalogEntry, depths: Sequence[int]) -> dict[str, float]:
    """Blocks and FLOP of a step of the model's usual clip, in the mean over a run of these depths.

    `share` is of full compute: all blocks, nothing pruned.
    """
    given = entry.defaults
    full, own = (
        cost(entry.shapes, width=given.width, height=given.height, num_frames=given.num_frames)
        for cost in (denoiser_cost, own_cost)
    )
    blocks = sum(depths) / len(depths)
    flop = own.embed + own.head + blocks * own.blocks[0]
    return {"blocks": blocks, "step_flop": flop, "share": flop / full.evaluation}
