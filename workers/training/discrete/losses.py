"""Noise on tokens, and two losses whose minimum is the same network.

Forward: each token on its own is kept with probability alpha = exp(-sigma), else drawn from all S at random.
Log-linear noise: alpha = 1 - (1 - eps) t for t in (0, 1].

Sources: Lou, Meng, Ermon 2024 (2310.16834), equation 5 and the uniform graph of its code; the denoiser's
posterior from the leave-one-out one: 2605.22765.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot


class Noised(NamedTuple):
    """Tokens and the noise they have.

    Attributes:
        tokens: (B, n), after the noise.
        sigma: (B,), total noise.
        rate: (B,), its derivative by t.
    """

    tokens: Tensor
    sigma: Tensor
    rate: Tensor


def log_linear(time: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Total noise and its rate at times in (0, 1]."""
    return -torch.log1p(-(1 - eps) * time), (1 - eps) / (1 - (1 - eps) * time)


def spread_times(count: int, generator: torch.Generator) -> Tensor:
    """Times (count,) in (0, 1], one in each of `count` equal parts, in no order."""
    shift = torch.rand((), generator=generator)
    times = (torch.arange(count) + shift) / count
    return times[torch.randperm(count, generator=generator)].clamp(min=1e-4)


def add_noise(
    clean: Tensor, given: Tensor, times: Tensor, *, vocabulary: int, eps: float, generator: torch.Generator
) -> Noised:
    """Tokens (B, n) under log-linear noise; where `given` (B, n) is true they stay as they are."""
    sigma, rate = log_linear(times, eps)
    drawn = torch.randint(vocabulary, clean.shape, generator=generator)
    moved = torch.rand(clean.shape, generator=generator) < -torch.expm1(-sigma)[:, None]
    return Noised(torch.where(moved & ~given, drawn, clean), sigma, rate)


def score_entropy(log_ratios: Tensor, noised: Noised, clean: Tensor) -> Tensor:
    """The score entropy of each token, (B, n), not weighted by the rate; zero where the ratios are exact.

    sum over a != x of (s_a - r_a log s_a + r_a (log r_a - 1)) / S with r_a = p(a | x0) / p(x | x0).

    Args:
        log_ratios: log s, (B, n, S), 0 at x.
        noised: x and its noise.
        clean: x0, (B, n).
    """
    size = log_ratios.shape[-1]
    growth = torch.expm1(noised.sigma)[:, None, None]
    # p(a | x0) is (growth + S) / S at a = x0 and growth / S elsewhere, up to one factor.
    target = torch.log(growth + size * one_hot(clean, size))
    target = target - target.gather(-1, noised.tokens[..., None])
    terms = log_ratios.exp() - target.exp() * (log_ratios - target + 1)
    others = 1 - one_hot(noised.tokens, size)
    return (terms * others).sum(-1) / size


def clean_token_entropy(logits: Tensor, noised: Noised, clean: Tensor) -> Tensor:
    """The cross entropy of each clean token under the denoiser that leave-one-out logits stand for, (B, n).

    p(x0_i = a | x) is proportional to mu_a at a != x_i and to mu_a (1 + S alpha / (1 - alpha)) at a = x_i.

    Args:
        logits: of mu, (B, n, S).
        noised: x and its noise.
        clean: x0, (B, n).
    """
    size = logits.shape[-1]
    seen = torch.log1p(size / torch.expm1(noised.sigma))[:, None, None]
    posterior = log_softmax(logits + seen * one_hot(noised.tokens, size), dim=-1)
    return -posterior.gather(-1, clean[..., None])[..., 0]


def likelihood_bound(entropy: Tensor, noised: Noised, eps: float, vocabulary: int) -> Tensor:
    """Nats a token, (B,), whose mean over times in (0, 1] bounds a row's negative log likelihood from above.

    Args:
        entropy: as `score_entropy` gives it.
        noised: with the rate it is weighted by.
        eps, vocabulary: for the part of the end: KL of the noised law from the uniform one.
    """
    kept = eps + (1 - eps) / vocabulary
    moved = (1 - eps) / vocabulary
    end = kept * math.log(kept * vocabulary) + (vocabulary - 1) * moved * math.log(moved * vocabulary)
    return noised.rate * entropy.mean(-1) + end
