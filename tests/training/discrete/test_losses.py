"""The losses on small enumerable laws, where their minima are known."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from workers.models.sedd_modules import leave_one_out_log_ratios
from workers.training.discrete.losses import (
    Noised,
    add_noise,
    clean_token_entropy,
    likelihood_bound,
    log_linear,
    score_entropy,
    spread_times,
)

S, D = 3, 2
SIGMA = 0.7
LAW = torch.tensor([[0.30, 0.05, 0.10], [0.02, 0.25, 0.08], [0.05, 0.05, 0.10]], dtype=torch.float64)
"""p(x0) of two tokens."""


def transition(sigma: float, size: int = S) -> Tensor:
    alpha = math.exp(-sigma)
    return alpha * torch.eye(size, dtype=torch.float64) + (1 - alpha) / size


def everything() -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of clean and noised sequences, and their joint probability."""
    pairs = list(itertools.product(itertools.product(range(S), repeat=D), repeat=2))
    clean, noised = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))
    kernel = transition(SIGMA)
    weight = LAW[clean[:, 0], clean[:, 1]] * kernel[clean, noised].prod(1)
    return clean, noised, weight


def exact_log_ratios(noised: Tensor) -> Tensor:
    """log q(y) / q(x) for y that differs from x at one place, (N, D, S)."""
    kernel = transition(SIGMA)
    law = kernel.T @ LAW @ kernel
    first, second = noised.unbind(1)
    ratios = torch.stack([law[:, second].T, law[first]], dim=1)
    return (ratios / law[first, second][:, None, None]).log()


def exact_leave_one_out(noised: Tensor) -> Tensor:
    """log p(x0_i = a | x_j), (N, D, S)."""
    kernel = transition(SIGMA)
    first, second = noised.unbind(1)
    of_first = (LAW @ kernel)[:, second].T
    of_second = (kernel.T @ LAW)[first]
    joint = torch.stack([of_first, of_second], dim=1)
    return (joint / joint.sum(-1, keepdim=True)).log()


def levels(rows: int) -> Noised:
    sigma = torch.full((rows,), SIGMA, dtype=torch.float64)
    return Noised(torch.zeros(rows, D), sigma, torch.ones(rows))


def test_leave_one_out_gives_the_exact_ratios() -> None:
    _, noised, _ = everything()
    ours = leave_one_out_log_ratios(exact_leave_one_out(noised), noised, torch.full((len(noised),), SIGMA))
    assert torch.allclose(ours, exact_log_ratios(noised), atol=1e-6)


def test_score_entropy_is_least_at_the_exact_ratios() -> None:
    """Its gradient there is zero, and any step away raises it."""
    clean, tokens, weight = everything()
    noised = levels(len(tokens))._replace(tokens=tokens)

    def risk(log_ratios: Tensor) -> Tensor:
        return (weight[:, None] * score_entropy(log_ratios, noised, clean)).sum()

    # One table for all rows that have the same x: a network sees x only.
    place = tokens[:, 0] * S + tokens[:, 1]
    sequences = torch.tensor(list(itertools.product(range(S), repeat=D)))
    table = exact_log_ratios(sequences).requires_grad_()
    least = risk(table[place])
    (gradient,) = torch.autograd.grad(least, table)
    assert gradient.abs().max() < 1e-12
    away = table.detach() + 0.1 * torch.randn(table.shape, generator=torch.Generator().manual_seed(0))
    away.scatter_(-1, sequences[..., None], 0.0)
    assert risk(away[place]) > least + 1e-4


def test_score_entropy_by_hand() -> None:
    """S = 2, alpha = 1/2, x0 = 0, x = 1: r_0 = (3/4) / (1/4) = 3; s_0 = 1: (1 - 0 + 3 (log 3 - 1)) / 2."""
    noised = Noised(torch.tensor([[1]]), torch.tensor([math.log(2.0)]), torch.ones(1))
    entropy = score_entropy(torch.zeros(1, 1, 2), noised, torch.tensor([[0]]))
    assert math.isclose(float(entropy), (1 + 3 * (math.log(3) - 1)) / 2, rel_tol=1e-6)
    exact = torch.tensor([[[math.log(3.0), 0.0]]])
    assert abs(float(score_entropy(exact, noised, torch.tensor([[0]])))) < 1e-6


def test_cross_entropy_is_the_exact_posterior_s() -> None:
    """-log p(x0_i | x) by enumeration, from the exact leave-one-out posterior."""
    clean, tokens, weight = everything()
    noised = levels(len(tokens))._replace(tokens=tokens)
    ours = clean_token_entropy(exact_leave_one_out(tokens), noised, clean)
    for row in range(0, len(tokens), 7):
        same = (tokens == tokens[row]).all(1)
        agreeing = same & (clean[:, 0] == clean[row, 0])
        expected = -math.log(weight[agreeing].sum() / weight[same].sum())
        assert math.isclose(float(ours[row, 0]), expected, rel_tol=1e-5)


def test_the_bound_is_met_by_the_exact_network() -> None:
    """One token of three values: the bound's mean over times is its entropy, but for the end's tail."""
    law = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    eps, steps = 1e-3, 20_000
    times = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    sigma, rate = log_linear(times, eps)
    alpha = torch.exp(-sigma)
    total = torch.zeros(steps, dtype=torch.float64)
    for clean, tokens in itertools.product(range(S), repeat=2):
        chance = law[clean] * (alpha * (clean == tokens) + (1 - alpha) / S)
        marginal = alpha[:, None] * law + ((1 - alpha) / S)[:, None]
        log_ratios = (marginal / marginal[:, tokens : tokens + 1]).log()[:, None]
        noised = Noised(torch.full((steps, 1), tokens), sigma, rate)
        entropy = score_entropy(log_ratios, noised, torch.full((steps, 1), clean))
        total += chance * likelihood_bound(entropy, noised, eps, S)
    assert math.isclose(float(total.mean()), float(-(law * law.log()).sum()), abs_tol=2e-3)


def test_noise_keeps_what_is_given_and_alpha_of_the_rest() -> None:
    """At alpha = 1/2 of 5 tokens a token stays with probability 1/2 + 1/10; 40,000 draws, 5 deviations."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.full((200, 200), 3)
    given = torch.zeros(200, 200, dtype=torch.bool)
    given[:, :20] = True
    times = torch.full((200,), 0.5)
    noised = add_noise(clean, given, times, vocabulary=5, eps=0.0, generator=generator)
    assert (noised.tokens[:, :20] == 3).all()
    assert abs(float((noised.tokens[:, 20:] == 3).float().mean()) - 0.6) < 5 * math.sqrt(0.24 / 36_000)
    assert torch.allclose(torch.exp(-noised.sigma), torch.tensor(0.5))


def test_times_are_one_in_each_part() -> None:
    times = spread_times(8, torch.Generator().manual_seed(0))
    assert sorted((times * 8).long().tolist()) == list(range(8))
    assert float(times.min()) > 0
