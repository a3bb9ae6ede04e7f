"""What `SEDD` costs, the transformer of Score-Entropy-Discrete-Diffusion (Lou et al. 2024, 2310.16834)."""

from __future__ import annotations

from protocol.cost.ops import DenoiserCost, attention, linear
from protocol.sedd_shape import SeddShape

_SIGMA_CHANNELS = 256
"""Sinusoidal channels of the noise level; fixed in the original."""

_MLP_RATIO = 4
"""Likewise."""


def sedd_cost(shape: SeddShape, *, tokens: int) -> DenoiserCost:
    """FLOP per row of `tokens` positions. Looking up an embedding costs no product."""
    dim, cond = shape.hidden_size, shape.cond_dim
    projections = linear(tokens, dim, 3 * dim) + linear(tokens, dim, dim)
    block = linear(1, cond, 6 * dim) + projections + attention(tokens, tokens, dim)
    block += 2 * linear(tokens, dim, _MLP_RATIO * dim)
    return DenoiserCost(
        embed=linear(1, _SIGMA_CHANNELS, cond) + linear(1, cond, cond),
        blocks=(block,) * shape.n_blocks,
        head=linear(1, cond, 2 * dim) + linear(tokens, dim, shape.tokens),
    )
