"""SEDD as embed, blocks and head, with rows that cannot feel each other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor, nn

from protocol.cost.sedd import sedd_cost
from workers.core import Batch, Grid, Hidden, Layout, Prediction, Stream
from workers.models.row_linear import isolate_rows
from workers.models.row_probe import mixing_linears
from workers.models.sedd_modules import SEDD

_ROW_MULTIPLE = 32
"""Elementwise kernels treat the last few elements of a buffer apart; such rows never hold them."""


class SeddNetwork:
    """Calls the blocks of a SEDD one by one, as its own forward does.

    A batch's latents are tokens (R, n), int64, its timestep the total noise. A stream's hidden is (vectors,);
    fixed is (condition (R, cond_dim), tokens (R, n), total noise (R,)); shared are the rotary tables.

    Args:
        transformer: its per-sample Linears are replaced by RowLinear.

    Raises:
        ValueError: a width at which rows would share a vector register.
    """

    def __init__(self, transformer: SEDD) -> None:
        config = transformer.config
        for name in ("hidden_size", "cond_dim"):
            if (width := getattr(config, name)) % _ROW_MULTIPLE:
                raise ValueError(f"{name} {width} is not a multiple of {_ROW_MULTIPLE}")
        isolate_rows(transformer, {*_per_sample_linears(transformer), *mixing_linears(transformer)})
        self._transformer = transformer
        self._rotary = lru_cache(maxsize=64)(transformer.rotary_emb.forward)
        self._layout = Layout(
            num_blocks=config.n_blocks,
            max_lanes=1,
            prediction=Prediction.LOG_RATIO,
            cost=lru_cache(maxsize=256)(lambda grid: sedd_cost(config, tokens=grid.num_tokens)),
        )

    @property
    def layout(self) -> Layout:
        return self._layout

    def embed(self, batch: Batch, signal: bool = False) -> Stream:
        """Rows before block 0. There is no condition, and no signal: no cache is made for discrete models."""
        assert not signal, "no method asks a discrete model for its signal"
        net, tokens, sigma = self._transformer, batch.latents, batch.timestep.float()
        return Stream(
            hidden=(net.embed(tokens).contiguous(),),
            fixed=(net.condition(sigma), tokens, sigma),
            shared=self._rotary(batch.grid.num_tokens),
        )

    def block(self, index: int, stream: Stream) -> Hidden:
        cosines, sines = stream.shared
        vectors: Tensor = self._transformer.blocks[index](stream.hidden[0], (cosines, sines), stream.fixed[0])
        return (vectors,)

    def head(self, stream: Stream) -> Tensor:
        """Log ratios (R, n, S), float32, 0 at each row's own tokens."""
        net, (condition, tokens, sigma) = self._transformer, stream.fixed
        raw = net.output_layer(stream.hidden[0].contiguous(), condition)
        # n x S need not fill vector registers.
        rows = zip(*(torch.split(part, 1) for part in (raw, tokens, sigma)), strict=True)
        return torch.cat([net.log_ratios(*row) for row in rows])

    @torch.no_grad()
    def score(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """Ratios q_sigma(y) / q_sigma(x), (B, n, S), float32, 1 at the current tokens: one full evaluation.

        Args:
            tokens: (B, n), int64.
            sigma: (B,), total noise above 0.
        """
        stream = self.embed(Batch(tokens, sigma, (), (), Grid(1, tokens.shape[1])))
        for index in range(self.layout.num_blocks):
            stream = stream.set(range(stream.num_rows), self.block(index, stream))
        return self.head(stream).exp()


def _per_sample_linears(transformer: nn.Module) -> Iterator[str]:
    """Names of the Linears whose input has one row a sample: the noise level's and what it modulates."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and (name.startswith("sigma_map.") or name.endswith("modulation")):
            yield name
