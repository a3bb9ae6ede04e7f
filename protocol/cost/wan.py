"""What `WanTransformer3DModel` costs (Wan 2.1: one timestep a row)."""

from __future__ import annotations

from math import prod

from protocol.cost.ops import DenoiserCost, attention, linear
from protocol.shapes import WanTransformerShape


def wan_cost(shape: WanTransformerShape, *, video_tokens: int, text_tokens: int) -> DenoiserCost:
    """FLOP per row. With a conditioning image its tokens are embedded and attended to at every evaluation."""
    block = _self_attention(shape, video_tokens) + _cross_attention(shape, video_tokens, text_tokens)
    block += 2 * linear(video_tokens, shape.inner_dim, shape.ffn_dim)
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


def _self_attention(shape: WanTransformerShape, tokens: int) -> int:
    return 4 * linear(tokens, shape.inner_dim, shape.inner_dim) + attention(tokens, tokens, shape.inner_dim)


def _cross_attention(shape: WanTransformerShape, video_tokens: int, text_tokens: int) -> int:
    dim = shape.inner_dim
    image_tokens = shape.image_context_tokens
    query_and_out = 2 * linear(video_tokens, dim, dim)
    keys_and_values = 2 * linear(text_tokens, dim, dim)
    if shape.added_kv_proj_dim is not None:
        keys_and_values += 2 * linear(image_tokens, shape.added_kv_proj_dim, dim)
    return query_and_out + keys_and_values + attention(video_tokens, text_tokens + image_tokens, dim)
