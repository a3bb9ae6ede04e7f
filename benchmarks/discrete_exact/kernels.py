"""Moves of the samplers as transition matrices (K, K) over all states, from the samplers' own weights."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from benchmarks.discrete_exact.enumerable import Enumerable
from workers.sampling.discrete import predictors
from workers.sampling.discrete.blocks import Propose, Verify, choose_sites, log_gain
from workers.sampling.discrete.conventions import conditionals
from workers.sampling.discrete.correctors import OneSite, Stale, StationaryLeap, Synchronous
from workers.sampling.discrete.state import Move
from workers.sampling.discrete.steps import Denoise, FirstStage, Predict, SecondStage


def run(source: Enumerable, moves: Sequence[Move]) -> Tensor:
    """(K,): the law that a run ends with, from even tokens."""
    count = len(source.states)
    law = torch.full((count,), 1 / count, dtype=torch.float64)
    place = 0
    while place < len(moves):
        width = 2 if isinstance(moves[place], Propose | FirstStage) else 1
        law = law @ matrix(source, *moves[place : place + width])
        place += width
    return law


def matrix(source: Enumerable, move: Move, after: Move | None = None) -> Tensor:
    """One move's matrix, or that of two moves that belong together."""
    ratios, states = source.ratios(move.sigma), source.states
    match move, after:
        case Predict(), None:
            return factorised(source, predictors.weights(move.predictor, ratios, states, move.width))
        case Denoise(), None:
            return factorised(source, predictors.tweedie(ratios, states, move.sigma))
        case StationaryLeap(), None:
            return factorised(source, predictors.stationary_leap(ratios, states, move.width))
        case FirstStage(), SecondStage():
            return trapezoidal(source, move, after)
        case OneSite(), None:
            return one_site(source, ratios, move.confidence)
        case Stale(), None:
            even = [[place] for place in range(source.num_tokens)]
            return frozen(source, ratios, [even] * move.updates, move.threshold)
        case Synchronous(), None:
            sweep = [list(range(source.num_tokens))]
            return frozen(source, ratios, [sweep] * move.sweeps, move.threshold)
        case Propose(), Verify():
            return verified(source, ratios, move)
    raise TypeError(f"no matrix for {move} and {after}")


def factorised(source: Enumerable, weights: Tensor) -> Tensor:
    """All tokens drawn on their own from weights (..., d, S): (..., K)."""
    rows = conditionals(weights)
    result = rows[..., 0, source.states[:, 0]]
    for place in range(1, source.num_tokens):
        result = result * rows[..., place, source.states[:, place]]
    return result


def trapezoidal(source: Enumerable, first: FirstStage, second: SecondStage) -> Tensor:
    """Both stages; where the second one goes depends on where the first one started."""
    states = source.states
    early = predictors.reverse_rates(source.ratios(first.sigma), states)
    late = predictors.reverse_rates(source.ratios(second.sigma), states)
    middle = factorised(source, predictors.first_jump(early, states, first.theta * first.width))
    rows = []
    for start, reached in enumerate(middle):
        rates = predictors.trapezoidal_rates(early[start].expand_as(late), late, states, second.theta)
        jumps = predictors.first_jump(rates, states, (1 - second.theta) * second.width)
        rows.append(reached @ factorised(source, jumps))
    return torch.stack(rows)


def one_site(source: Enumerable, ratios: Tensor, confidence: float | None = None) -> Tensor:
    """A site drawn evenly, resampled from a fresh score."""
    count, num_tokens = len(source.states), source.num_tokens
    rows = conditionals(ratios)
    sure = torch.ones(count, num_tokens) if confidence is None else (rows.amax(-1) > confidence)
    sure = sure.double()[..., None] / num_tokens
    result = torch.diag(1 - sure.sum((1, 2)))
    neighbours = source.neighbours.flatten(1)
    return result.scatter_add(1, neighbours, (rows * sure).flatten(1))


def frozen(
    source: Enumerable, ratios: Tensor, rounds: Sequence[list[list[int]]], threshold: float | None
) -> Tensor:
    """Rounds of updates from the score at the start: each takes one of its lists of sites, evenly."""
    rows = conditionals(ratios)
    result = torch.eye(len(source.states), dtype=torch.float64)
    for choices in rounds:
        ends = []
        for sites in choices:
            end = result
            for site in sites:
                end = _resample(source, end, rows[:, site], site, threshold)
            ends.append(end)
        result = torch.stack(ends).mean(0)
    return result


def _resample(source: Enumerable, laws: Tensor, values: Tensor, site: int, threshold: float | None) -> Tensor:
    """Laws (K, K), a row a start, after `site` is redrawn from that start's values (K, S)."""
    held = values[:, source.states[:, site]]
    moved = laws if threshold is None else torch.where(held < threshold, laws, 0.0)
    shape = (len(laws), *(source.vocab_size,) * source.num_tokens)
    rest = moved.reshape(shape).sum(1 + site, keepdim=True).expand(shape).reshape(laws.shape)
    return laws - moved + rest * held


def verified(source: Enumerable, ratios: Tensor, move: Propose) -> Tensor:
    """Blocks with one verdict a row, averaged over all orders in which sites may come."""
    result = torch.zeros(len(source.states), len(source.states), dtype=torch.float64)
    for sites, probability in blocks(source.num_tokens, move.spacing, move.share).items():
        result += probability * _proposed(source, ratios, sites)
    return result


@cache
def blocks(num_tokens: int, spacing: int, share: float) -> dict[tuple[int, ...], float]:
    """Every block that may be drawn, by its sites, with its probability."""
    orders = torch.tensor(list(itertools.permutations(range(num_tokens)))) / num_tokens
    chosen = choose_sites(orders, torch.ones_like(orders, dtype=torch.bool), spacing, share)
    counts = Counter(tuple(row.nonzero().flatten().tolist()) for row in chosen)
    return {sites: count / len(orders) for sites, count in counts.items()}


def _proposed(source: Enumerable, ratios: Tensor, sites: tuple[int, ...]) -> Tensor:
    """One block resampled, kept or taken back."""
    states, places = source.states, list(sites)
    values = torch.cartesian_prod(*[torch.arange(source.vocab_size)] * len(sites)).reshape(-1, len(sites))
    strides = source.strides[places]
    fixed = source.index(states) - (states[:, places] * strides).sum(1)
    ends = fixed[:, None] + (values * strides).sum(1)
    rows = conditionals(ratios)[:, places]
    proposal = rows[:, torch.arange(len(sites)), values].prod(-1)
    starts = torch.arange(len(states))[:, None].expand_as(ends)
    block = torch.zeros(source.num_tokens, dtype=torch.bool)
    block[places] = True
    gains = log_gain(ratios[starts], ratios[ends], states[starts], states[ends])
    moved = proposal * torch.where(block, gains, 0.0).sum(-1).clamp(max=0).exp()
    return torch.diag(1 - moved.sum(1)).scatter_add(1, ends, moved)
