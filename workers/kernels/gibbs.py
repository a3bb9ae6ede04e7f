"""Gather the rows of chosen sites, normalise each, draw a token from it: one Gibbs update of many sites.

Draws are made in integers. A row is divided by its largest entry, which no order of operations changes, and
rounded down to 24 bits; sums and the comparison with the uniform number are then exact. So kernel and torch
code give the same token for the same uniform number, on any device and in any company.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import torch
from torch import Tensor

WEIGHT_BITS, UNIFORM_BITS, RULE_BITS = 24, 22, 20
MAX_VOCAB_SIZE = 2**17 - 1
"""Above, a row's total times a uniform number no longer fits into 63 bits."""
LARGEST = 3.4028234663852886e38
"""What an infinite ratio is read as: float32's largest number."""


def gibbs_step(
    tokens: Tensor,
    ratios: Tensor,
    sites: Tensor,
    uniforms: Tensor,
    *,
    threshold: float | None = None,
    confidence: float | None = None,
) -> Tensor:
    """Resample sites from their rows of `ratios`, all from the same ones.

    Args:
        tokens: (B, d), int64.
        ratios: (B, d, S), not negative; a row need not sum to 1, only its proportions count.
        sites: (B, k), int64, none twice in a row; -1 stands for none.
        uniforms: (B, k), float32 in [0, 1).
        threshold: resample only where the current token's probability is below it. Sharpens.
        confidence: resample only where the largest probability is above it.

    Returns:
        (B, d), int64.
    """
    rules = {"threshold": _as_integer(threshold), "confidence": _as_integer(confidence)}
    if tokens.is_cuda and _has_triton():
        from workers.kernels.gibbs_triton import gibbs_step_triton

        return gibbs_step_triton(tokens, ratios, sites, uniforms, **rules)
    return gibbs_step_torch(tokens, ratios, sites, uniforms, **rules)


def gibbs_step_torch(
    tokens: Tensor, ratios: Tensor, sites: Tensor, uniforms: Tensor, *, threshold: int, confidence: int
) -> Tensor:
    """The step in torch; rules in units of 2**-20, -1 for none."""
    chosen = sites.clamp(min=0)
    rows = ratios.gather(1, chosen[..., None].expand(-1, -1, ratios.shape[-1]))
    weights = integer_weights(rows)
    totals = weights.sum(-1)
    current = tokens.gather(1, chosen)
    drawn = inverse(weights, totals, uniforms)
    if threshold >= 0:
        held = weights.gather(-1, current[..., None])[..., 0]
        drawn = torch.where((held << RULE_BITS) < totals * threshold, drawn, current)
    if confidence >= 0:
        sure = totals * confidence < 1 << WEIGHT_BITS + RULE_BITS
        drawn = torch.where(sure, drawn, current)
    places = torch.where(sites >= 0, sites, tokens.shape[1])
    return torch.nn.functional.pad(tokens, (0, 1)).scatter(1, places, drawn)[:, :-1]


def integer_weights(rows: Tensor) -> Tensor:
    """Rows (..., S) in proportion to their largest entry, which becomes 2**24; int64."""
    finite = rows.clamp(min=0, max=LARGEST)
    weights: Tensor = (finite / finite.amax(-1, keepdim=True)) * 2**WEIGHT_BITS
    return weights.floor().to(torch.int64)


def inverse(weights: Tensor, totals: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the running sum of weights (..., S) passes the uniform number's share of it."""
    drawn = (uniforms * 2**UNIFORM_BITS).to(torch.int64)
    targets = drawn * totals >> UNIFORM_BITS
    passed: Tensor = weights.cumsum(-1) <= targets[..., None]
    return passed.sum(-1)


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _as_integer(rule: float | None) -> int:
    return -1 if rule is None else round(rule * 2**RULE_BITS)
