"""FLUX's transformer as embed, blocks and head, with rows that cannot feel each other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from protocol.cost import DenoiserCost, denoiser_cost
from protocol.shapes import FluxShapes
from workers.core import ALONE, Batch, Grid, Hidden, Layout, Stream
from workers.models.declaration import FLOW, Declared
from workers.models.mesh import Mesh
from workers.models.row_linear import isolate_rows
from workers.models.row_probe import mixing_linears

_ROW_MULTIPLE = 32
"""Elementwise kernels treat the last few elements of a buffer apart; such rows never hold them."""


class FluxNetwork:
    """Calls the blocks of a FluxTransformer2DModel one by one, as its own forward does.

    The stream's hidden is (image tokens, text tokens), fixed is the time embedding, shared are the rotary
    tables and, empty, (S, 0) of all image tokens. Of a mesh every rank holds a part of both kinds of tokens
    and of the tables; outputs are whole on all of them.

    Args:
        transformer: diffusers' FluxTransformer2DModel; its per-sample Linears are replaced by RowLinear.
        shapes: for the cost.
        pixels_per_token: side of a token in pixels.
        text_tokens: length of the encoded prompt.
        mesh: the ranks that share its forwards; None: there is this process only.
        declared: what the output is.
    """

    def __init__(
        self,
        transformer: Any,
        shapes: FluxShapes,
        *,
        pixels_per_token: int,
        text_tokens: int,
        mesh: Mesh | None = None,
        declared: Declared = FLOW,
    ) -> None:
        if transformer.inner_dim % _ROW_MULTIPLE:
            raise ValueError(f"inner dimension {transformer.inner_dim} is not a multiple of {_ROW_MULTIPLE}")
        isolate_rows(transformer, {*_per_sample_linears(transformer), *mixing_linears(transformer)})
        self._transformer, self._mesh = transformer, mesh
        if mesh is not None:
            mesh.attach(transformer)
        self._blocks: list[nn.Module] = [
            *transformer.transformer_blocks,
            *transformer.single_transformer_blocks,
        ]
        self._text_tokens = text_tokens
        self._rotary = lru_cache(maxsize=64)(self._make_rotary)
        self._layout = Layout(
            num_blocks=len(self._blocks),
            max_lanes=1 if transformer.config.guidance_embeds else 2,
            prediction=declared.prediction,
            cost=lru_cache(maxsize=256)(lambda grid: _cost(shapes, grid, pixels_per_token)),
            ranks=mesh or ALONE,
            clamp=declared.clamp,
        )

    @property
    def layout(self) -> Layout:
        return self._layout

    def embed(self, batch: Batch, signal: bool = False) -> Stream:
        """Rows before block 0. Condition: (prompt_embeds, pooled_prompt_embeds); scalars: guidance."""
        net, (prompt_embeds, pooled_prompt_embeds) = self._transformer, batch.condition
        # The pipeline divides the timestep by 1000 and the network multiplies it again, in the latents'
        # dtype.
        timestep = batch.timestep.to(batch.latents.dtype) / 1000 * 1000
        numbers = [timestep, *(scalar.to(batch.latents.dtype) * 1000 for scalar in batch.scalars)]
        time_embed = net.time_text_embed(*numbers, pooled_prompt_embeds)
        if self._mesh is not None:
            self._mesh.begin(batch.grid.num_tokens, self._text_tokens)
        tokens = net.x_embedder(self._shard(batch.latents))
        return Stream(
            hidden=(tokens, net.context_embedder(self._shard(prompt_embeds))),
            fixed=(time_embed,),
            shared=self._rotary(batch.grid),
            signal=net.transformer_blocks[0].norm1(tokens, emb=time_embed)[0] if signal else None,
        )

    def block(self, index: int, stream: Stream) -> Hidden:
        tokens, text = stream.hidden
        text, tokens = self._blocks[index](
            hidden_states=tokens,
            encoder_hidden_states=text,
            temb=stream.fixed[0],
            image_rotary_emb=stream.shared[:2],
        )
        return tokens, text

    def head(self, stream: Stream) -> Tensor:
        net = self._transformer
        output: Tensor = net.proj_out(net.norm_out(stream.hidden[0].contiguous(), stream.fixed[0]))
        return output if self._mesh is None else self._mesh.gather(output, len(stream.shared[2]))

    def _make_rotary(self, grid: Grid) -> tuple[Tensor, ...]:
        """Cosines and sines (text + image tokens, head_dim), float32, and (image tokens, 0).

        Text stands at the origin.
        """
        ids = torch.zeros(grid.height, grid.width, 3)
        ids[..., 1] = torch.arange(grid.height)[:, None]
        ids[..., 2] = torch.arange(grid.width)[None, :]
        places = [torch.zeros(self._text_tokens, 3), ids.reshape(-1, 3)]
        joint = torch.cat([self._shard(kind, 0) for kind in places])
        weight = self._transformer.x_embedder.weight
        # Positions pass through the network's dtype, as in the pipeline.
        rotary: tuple[Tensor, ...] = self._transformer.pos_embed(joint.to(weight.device, weight.dtype))
        return (*rotary, rotary[0].new_empty(grid.num_tokens, 0))

    def _shard(self, tokens: Tensor, dim: int = 1) -> Tensor:
        return tokens if self._mesh is None else self._mesh.shard(tokens, dim)


def _per_sample_linears(transformer: nn.Module) -> Iterator[str]:
    """Names of the Linears whose input has one row a sample: time and text embedding, adaLN projections."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            stem = name.rsplit(".", 2)
            adaptive = name.endswith(".linear") and stem[-2].startswith("norm")
            if name.startswith("time_text_embed.") or adaptive:
                yield name


def _cost(shapes: FluxShapes, grid: Grid, pixels_per_token: int) -> DenoiserCost:
    return denoiser_cost(shapes, width=grid.width * pixels_per_token, height=grid.height * pixels_per_token)
