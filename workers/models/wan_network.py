"""Wan's transformer as embed, blocks and head, with rows that cannot feel each other."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from protocol.cost import DenoiserCost
from protocol.cost.wan import wan_cost
from protocol.shapes import WanShapes
from workers.core import ALONE, Batch, Grid, Hidden, Layout, Stream
from workers.models.declaration import FLOW, Declared
from workers.models.mesh import Mesh
from workers.models.row_linear import isolate_rows
from workers.models.row_probe import mixing_linears

_ROW_MULTIPLE = 32
"""Elementwise kernels treat the last few elements of a buffer apart; such rows never hold them."""
_PER_SAMPLE_LINEARS = tuple(
    f"condition_embedder.{name}" for name in ("time_embedder.linear_1", "time_embedder.linear_2", "time_proj")
)
"""Their input has one row a sample."""
_SLICED_CONTEXT_LINEARS = ("to_k", "to_v", "add_k_proj", "add_v_proj")
"""With an image, each is fed a part of the context. That of one sample lies in one piece, those of several do
not, and torch then adds a Linear's bias after rounding."""
_MODULATIONS = 6
"""Shift, scale and gate of self-attention, then of the feed-forward."""


class WanNetwork:
    """Calls the blocks of a WanTransformer3DModel one by one, as its own forward does.

    The stream's hidden is (video tokens,); fixed is (time embedding (R, D), its projection (R, 6, D), context
    (R, T, D): the image's, if there is one, and the text's); shared are the rotary tables, cosines and sines
    (F, h, w, head_dim), which tell the token grid as well. Of a mesh every rank holds a part of the video
    tokens and the whole of all else; outputs are whole on all of them.

    Args:
        transformer: diffusers' WanTransformer3DModel, pruned or not; its per-sample Linears are replaced by
            RowLinear.
        shapes: for the cost, which is that of the blocks as they are.
        mesh: the ranks that share its forwards; None: there is this process only.
        declared: what the output is.

    Raises:
        ValueError: a width at which rows would share a vector register.
    """

    def __init__(
        self,
        transformer: Any,
        shapes: WanShapes,
        mesh: Mesh | None = None,
        declared: Declared = FLOW,
    ) -> None:
        _check_widths(shapes)
        rowwise = (*_PER_SAMPLE_LINEARS, *_sliced_linears(shapes))
        isolate_rows(transformer, {*rowwise, *mixing_linears(transformer)})
        self._transformer, self._mesh = transformer, mesh
        if mesh is not None:
            mesh.attach(transformer)
        self._dtype: torch.dtype = transformer.dtype
        self._patch: tuple[int, int, int] = shapes.transformer.patch_size
        self._rotary = lru_cache(maxsize=64)(self._make_rotary)
        self._layout = Layout(
            num_blocks=len(transformer.blocks),
            max_lanes=2,
            prediction=declared.prediction,
            cost=lru_cache(maxsize=256)(lambda grid: _cost(shapes, grid)),
            ranks=mesh or ALONE,
            clamp=declared.clamp,
        )

    @property
    def layout(self) -> Layout:
        return self._layout

    def embed(self, batch: Batch, signal: bool = False) -> Stream:
        """Rows before block 0; latents (R, C, F, h, w), float32 or narrower.

        Condition: (prompt_embeds,), of clips that start from an image (prompt_embeds, image_embeds (R, T, D),
        image latents behind their mask (R, F, h, w, C)).
        """
        net, (prompt_embeds, *image) = self._transformer, batch.condition
        latents, image_embeds = batch.latents.to(self._dtype), None
        if image:
            image_embeds, known = image
            latents = torch.cat([latents, known.movedim(-1, 1)], dim=1)
        # A convolution picks its kernel by the batch size.
        tokens = torch.cat([self._embed_patches(row) for row in torch.split(latents, 1)])
        if self._mesh is not None:
            self._mesh.begin(tokens.shape[1])
            tokens = self._mesh.shard(tokens)
        time_embed, projection, text, shown = net.condition_embedder(
            batch.timestep, prompt_embeds, image_embeds
        )
        context = text if shown is None else torch.cat([shown, text], dim=1)
        projection = projection.unflatten(1, (_MODULATIONS, -1))
        return Stream(
            hidden=(tokens,),
            fixed=(time_embed, projection, context),
            shared=self._rotary(batch.grid),
            signal=self._signal(tokens, projection) if signal else None,
        )

    def block(self, index: int, stream: Stream) -> Hidden:
        _, projection, context = stream.fixed
        tokens: Tensor = self._transformer.blocks[index](
            hidden_states=stream.hidden[0],
            encoder_hidden_states=context,
            temb=projection,
            rotary_emb=tuple(self._places(table) for table in stream.shared),
        )
        return (tokens,)

    def head(self, stream: Stream) -> Tensor:
        """(R, C, F, h, w), as the latents."""
        net, tokens = self._transformer, stream.hidden[0].contiguous()
        shift, scale = (net.scale_shift_table + stream.fixed[0].unsqueeze(1)).chunk(2, dim=1)
        normed = (net.norm_out(tokens.float()) * (1 + scale) + shift).type_as(tokens)
        projected, grid = net.proj_out(normed), stream.shared[0].shape[:3]
        if self._mesh is not None:
            projected = self._mesh.gather(projected, grid.numel())
        patches = projected.unflatten(1, grid).unflatten(-1, (*self._patch, -1))
        by_axis = patches.permute(0, 7, 1, 4, 2, 5, 3, 6)
        output: Tensor = by_axis.flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return output

    def _embed_patches(self, latents: Tensor) -> Tensor:
        """One sample's tokens (1, S, D)."""
        patches: Tensor = self._transformer.patch_embedding(latents)
        return patches.flatten(2).transpose(1, 2).contiguous()

    def _places(self, table: Tensor) -> Tensor:
        """A rotary table (1, tokens here, 1, head_dim)."""
        flat = table.flatten(0, 2)[None, :, None]
        return flat if self._mesh is None else self._mesh.shard(flat)

    def _signal(self, tokens: Tensor, projection: Tensor) -> Tensor:
        """The first block's modulated input."""
        first = self._transformer.blocks[0]
        shift, scale = (first.scale_shift_table + projection.float()).chunk(_MODULATIONS, dim=1)[:2]
        modulated: Tensor = first.norm1(tokens.float()) * (1 + scale) + shift
        return modulated.type_as(tokens)

    def _make_rotary(self, grid: Grid) -> tuple[Tensor, ...]:
        axes = (grid.num_frames, grid.height, grid.width)
        cells = [count * patch for count, patch in zip(axes, self._patch, strict=True)]
        tables = self._transformer.rope(torch.empty(1, 0, *cells))
        return tuple(table[0, :, 0].unflatten(0, axes) for table in tables)


def _sliced_linears(shapes: WanShapes) -> list[str]:
    blocks = range(shapes.num_blocks if shapes.transformer.image_context_tokens else 0)
    return [f"blocks.{index}.attn2.{name}" for index in blocks for name in _SLICED_CONTEXT_LINEARS]


def _check_widths(shapes: WanShapes) -> None:
    """Rows must fill vector registers wherever a function of single elements runs over several of them.

    None runs inside attention, so the heads that PARE keeps may be any number.
    """
    transformer = shapes.transformer
    widths = {
        "inner dimension": transformer.inner_dim,
        "ffn_dim": shapes.pare.ffn_dim if shapes.pare else transformer.ffn_dim,
        "half of freq_dim": transformer.freq_dim // 2,
        "image_dim": transformer.image_dim or 0,
    }
    for name, width in widths.items():
        if width % _ROW_MULTIPLE:
            raise ValueError(f"{name} {width} is not a multiple of {_ROW_MULTIPLE}")


def _cost(shapes: WanShapes, grid: Grid) -> DenoiserCost:
    return wan_cost(
        shapes.transformer,
        video_tokens=grid.num_tokens,
        text_tokens=shapes.text_tokens,
        pare=shapes.pare,
    )
