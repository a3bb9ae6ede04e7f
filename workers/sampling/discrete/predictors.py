"""One step of reverse time for all tokens: in what proportion each takes each value.

Every function gives weights (B, d, S), not negative, of which only a row's proportions count. Tokens (B, d)
int64; ratios (B, d, S), 1 at the current token; `width` is the total noise the step takes away.

Source: Lou et al. 2024 (SEDD, arXiv:2310.16834), eq. 13 and the analytic sampler; Campbell et al. 2022
    (tau-leaping); Ren et al. 2025 (theta-trapezoidal, arXiv:2502.00234), Algorithm 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ONE_CALL = ("euler", "tweedie", "tau-leaping")
"""Predictors that ask for one score a step."""
PREDICTORS = (*ONE_CALL, "theta-trapezoidal")


def weights(predictor: str, ratios: Tensor, tokens: Tensor, width: float) -> Tensor:
    """The weights of a predictor of one call."""
    if predictor == "tweedie":
        return tweedie(ratios, tokens, width)
    rates = reverse_rates(ratios, tokens)
    return euler(rates, tokens, width) if predictor == "euler" else single_jump(rates, tokens, width)


def reverse_rates(ratios: Tensor, tokens: Tensor) -> Tensor:
    """s_a / S, and 0 at the current token."""
    return (ratios / ratios.shape[-1]).scatter(-1, tokens[..., None], 0.0)


def euler(rates: Tensor, tokens: Tensor, width: float) -> Tensor:
    """Move with probability rate x width, else stay; a negative rest is read as 0."""
    moves = rates * width
    return _with_stay(moves, tokens, (1 - moves.sum(-1)).clamp(min=0))


def tweedie(ratios: Tensor, tokens: Tensor, width: float) -> Tensor:
    """Each token's law after the step given all of now, as if they were independent. Exact for d = 1.

    With h the width: [e^h s_a + (1 - e^h) / S sum_b s_b] [e^-h 1(a = x) + (1 - e^-h) / S]. The first factor,
    the token's conditional at the next level, is clamped at 0 where a learnt score makes it negative.
    """
    size = ratios.shape[-1]
    grown, kept = math.exp(width), math.exp(-width)
    moved = (1 - kept) / size
    ahead = (grown * ratios + (1 - grown) / size * ratios.sum(-1, keepdim=True)).clamp(min=0)
    at = tokens[..., None]
    return (ahead * moved).scatter(-1, at, ahead.gather(-1, at) * (kept + moved))


def single_jump(rates: Tensor, tokens: Tensor, width: float) -> Tensor:
    """Tau-leaping of categories: jumps are Poisson, and count only where exactly one occurred."""
    moves = rates * width
    alone = moves * torch.exp(-moves.sum(-1, keepdim=True))
    return _with_stay(alone, tokens, 1 - alone.sum(-1))


def first_jump(rates: Tensor, tokens: Tensor, width: float) -> Tensor:
    """Stay with probability exp(-total rate x width), else take the first jump's target."""
    totals = rates.sum(-1)
    stay = torch.exp(-totals * width)
    share = torch.where(totals > 0, (1 - stay) / totals, 0.0)
    return _with_stay(rates * share[..., None], tokens, stay)


def trapezoidal_rates(first: Tensor, second: Tensor, tokens: Tensor, theta: float) -> Tensor:
    """The second stage's rates: a1 mu(x*, later) - a2 mu(x, now), not negative; a1 - a2 = 1.

    Args:
        first, second: reverse rates at the step's start and after theta of it.
        tokens: x*, where the second stage starts.
        theta: in (0, 1).
    """
    ahead = 1 / (2 * theta * (1 - theta))
    return (ahead * second - (ahead - 1) * first).clamp(min=0).scatter(-1, tokens[..., None], 0.0)


def stationary_leap(ratios: Tensor, tokens: Tensor, width: float) -> Tensor:
    """The CTMC corrector: forward and reverse rates together at one level, in an Euler step."""
    return euler(reverse_rates(ratios + 1, tokens), tokens, width)


def _with_stay(moves: Tensor, tokens: Tensor, stay: Tensor) -> Tensor:
    return moves.scatter(-1, tokens[..., None], stay[..., None])
