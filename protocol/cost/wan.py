"""What `WanTransformer3DModel` costs (Wan 2.1: one timestep a row)."""

from __future__ import annotations

from math import prod

from protocol.cost.ops import DenoiserCost, attention, linear
from protocol.shapes import PareShape, WanTransformerShape


def wan_cost(
    shape: WanTransformerShape, *, video_tokens: int, text_tokens: int, pare: PareShape | None = None
) -> DenoiserCost:
    """FLOP per row. With a conditioning image its tokens are embedded and attended to at every evaluation.

    Args:
        shape: of the unpruned transformer.
        pare: what is left of its blocks; None: all.
    """
    head_dim = shape.attention_head_dim
    self_heads = pare.self_heads if pare else shape.num_attention_heads
    cross_heads = pare.cross_heads if pare else shape.num_attention_heads
    ffn_dim = pare.ffn_dim if pare else shape.ffn_dim
    block = _self_attention(shape, video_tokens, self_heads * head_dim)
    block += _cross_attention(shape, video_tokens, text_tokens, cross_heads * head_dim)
    block += 2 * linear(video_tokens, shape.inner_dim, ffn_dim)
    return DenoiserCost(
        embed=_embed(shape, video_tokens, text_tokens),
        blocks=(block,) * shape.num_layers,
        head=linear(
            video_tokens, shape.inner_dim, _patch_size(shape) * (shape.out_channels or shape.in_channels)
        ),
    )


def _patch_size(shape: WanTransformerShape) -> int:
    return prod(shape.patch_size)


def _embed(shape: WanTransformerShape, video_tokens: int, text_tokens: int) -> int:
    dim = shape.inner_dim
    patches = linear(video_tokens, _patch_size(shape) * shape.in_channels, dim)
    time = linear(1, shape.freq_dim, dim) + linear(1, dim, dim) + linear(1, dim, 6 * dim)
    text = linear(text_tokens, shape.text_dim, dim) + linear(text_tokens, dim, dim)
    return patches + time + text + _image_embed(shape)


def _image_embed(shape: WanTransformerShape) -> int:
    if shape.image_dim is None:
        return 0
    tokens = shape.image_context_tokens
    return linear(tokens, shape.image_dim, shape.image_dim) + linear(tokens, shape.image_dim, shape.inner_dim)


def _self_attention(shape: WanTransformerShape, tokens: int, inner: int) -> int:
    return 4 * linear(tokens, shape.inner_dim, inner) + attention(tokens, tokens, inner)


def _cross_attention(shape: WanTransformerShape, video_tokens: int, text_tokens: int, inner: int) -> int:
    """`inner` is the width of the heads; keys and values of a conditioning image are projected from
    `added_kv_proj_dim`."""
    image_tokens = shape.image_context_tokens
    query_and_out = 2 * linear(video_tokens, shape.inner_dim, inner)
    keys_and_values = 2 * linear(text_tokens, shape.inner_dim, inner)
    if shape.added_kv_proj_dim is not None:
        keys_and_values += 2 * linear(image_tokens, shape.added_kv_proj_dim, inner)
    return query_and_out + keys_and_values + attention(video_tokens, text_tokens + image_tokens, inner)
