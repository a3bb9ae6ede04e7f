"""What `FluxTransformer2DModel` costs."""

from __future__ import annotations

from protocol.cost.ops import DenoiserCost, attention, linear
from protocol.shapes import FluxTransformerShape

_TIME_CHANNELS = 256
"""Sinusoidal channels of timestep and guidance; fixed in diffusers."""

_MLP_RATIO = 4
"""Fixed in diffusers."""


def flux_cost(shape: FluxTransformerShape, *, image_tokens: int, text_tokens: int) -> DenoiserCost:
    """FLOP per row: two-stream blocks first, then single-stream ones."""
    double = _double_block(shape.inner_dim, image_tokens + text_tokens)
    single = _single_block(shape.inner_dim, image_tokens + text_tokens)
    return DenoiserCost(
        embed=_embed(shape, image_tokens, text_tokens),
        blocks=(double,) * shape.num_layers + (single,) * shape.num_single_layers,
        head=_head(shape, image_tokens),
    )


def _embed(shape: FluxTransformerShape, image_tokens: int, text_tokens: int) -> int:
    dim = shape.inner_dim
    scalars = 2 if shape.guidance_embeds else 1
    vectors = scalars * (linear(1, _TIME_CHANNELS, dim) + linear(1, dim, dim))
    vectors += linear(1, shape.pooled_projection_dim, dim) + linear(1, dim, dim)
    return (
        linear(image_tokens, shape.in_channels, dim)
        + linear(text_tokens, shape.joint_attention_dim, dim)
        + vectors
    )


def _double_block(dim: int, tokens: int) -> int:
    """Text and image have weights of their own and equal shapes, so only the sum of the tokens counts."""
    modulation = 2 * linear(1, dim, 6 * dim)
    projections = 4 * linear(tokens, dim, dim)
    mlp = 2 * linear(tokens, dim, _MLP_RATIO * dim)
    return modulation + projections + attention(tokens, tokens, dim) + mlp


def _single_block(dim: int, tokens: int) -> int:
    modulation = linear(1, dim, 3 * dim)
    projections = 3 * linear(tokens, dim, dim)
    mlp_in = linear(tokens, dim, _MLP_RATIO * dim)
    out = linear(tokens, (1 + _MLP_RATIO) * dim, dim)
    return modulation + projections + attention(tokens, tokens, dim) + mlp_in + out


def _head(shape: FluxTransformerShape, image_tokens: int) -> int:
    dim = shape.inner_dim
    return linear(1, dim, 2 * dim) + linear(image_tokens, dim, shape.patch_channels)
