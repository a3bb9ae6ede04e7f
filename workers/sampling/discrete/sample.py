"""Tokens from a score function, in a given number of its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from workers.sampling.discrete.draws import row_keys
from workers.sampling.discrete.errors import refuse
from workers.sampling.discrete.given import Asked, read_given
from workers.sampling.discrete.settings import read_settings
from workers.sampling.discrete.solver import DiscreteSolver

Score = Callable[[Tensor, Tensor], Tensor]
"""(tokens (B, d) int64, sigma (B,) float32) -> ratios (B, d, S), the entry at the current token 1."""


@torch.no_grad()
def sample(
    score: Score,
    *,
    num_tokens: int,
    vocab_size: int,
    nfe: int,
    corrector: str = "blocks",
    predictor: str | None = None,
    batch: int,
    given: Asked = None,
    generator: torch.Generator | None = None,
    seeds: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Tensor:
    """Draw rows of tokens from a uniform-rate discrete diffusion model.

    Args:
        score: of the model; called `nfe` times, each time for the whole batch, with one sigma.
        num_tokens: d, at least 1.
        vocab_size: S, 2 to 131,071.
        nfe: calls of score, the final denoising's included, at least 1. What a corrector leaves over buys
            plain predictor steps. None is made if every token is given.
        corrector: "blocks" (ours), "none", "exact", "gated", "stale", "sync", "ctmc", or "gadd-paper": Euler
            with stale updates, L = .31 d, threshold .1, which sharpens.
        predictor: "tweedie" (the default, but for the paper's settings), "euler", "tau-leaping" or
            "theta-trapezoidal".
        batch: B, at least 1.
        given: tokens to keep, see `workers.sampling.discrete.given.Asked`: a prefix, positions, or a mask.
        generator: draws a key a row and nothing else.
        seeds: a seed a row instead; the row's tokens are the same in any batch.
        device: where tokens live.
        options: of `Settings`; one that means nothing under this corrector is refused.

    Returns:
        (B, d), int64. Given tokens are as they were given.

    Raises:
        InvalidArgument: naming the argument and what is allowed; a ValueError.
        ValueError: score gave another shape, or values that are not numbers.

    Source: Liang et al. 2026 (GADD, arXiv:2605.27352), Algorithms 1 and 2; for "blocks" see that module.
    """
    _check_counts(nfe=nfe, batch=batch)
    settings = read_settings(num_tokens, vocab_size, corrector, predictor, options)
    kept = read_given(given, batch, num_tokens, vocab_size).to(device)
    solver = DiscreteSolver(settings, nfe)
    state = solver.start(_keys(batch, generator, seeds).to(device), kept)
    while (point := solver.ask(state)) is not None:
        sigma = torch.full((batch,), point.sigma, dtype=torch.float32, device=point.tokens.device)
        solver.tell(state, score(point.tokens, sigma))
    return state.tokens


def _keys(batch: int, generator: torch.Generator | None, seeds: Sequence[int] | None) -> Tensor:
    if seeds is None:
        device = "cpu" if generator is None else generator.device
        ends = torch.iinfo(torch.int64)
        return torch.randint(ends.min, ends.max, (batch,), generator=generator, device=device)
    if generator is not None:
        raise refuse("seeds", "together with generator", "one of the two")
    if len(seeds) != batch:
        raise refuse("seeds", f"{len(seeds)} of them", f"batch, {batch}")
    return row_keys(seeds)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise refuse(name, value, "whole numbers from 1 up")
