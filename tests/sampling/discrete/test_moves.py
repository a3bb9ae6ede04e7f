"""What the moves draw is what their matrices say, and a row's draws are its own."""

from __future__ import annotations

import pytest
import torch

from benchmarks.discrete_exact.enumerable import Enumerable, autoregressive
from benchmarks.discrete_exact.kernels import matrix
from workers.sampling.discrete.blocks import Propose, Verify
from workers.sampling.discrete.correctors import OneSite, Stale, StationaryLeap, Synchronous
from workers.sampling.discrete.draws import row_keys
from workers.sampling.discrete.given import read_given
from workers.sampling.discrete.state import Move, TokenState
from workers.sampling.discrete.steps import Denoise, FirstStage, Predict, SecondStage

SIGMA, ROWS = 0.4, 40_000
SOURCE = autoregressive(3, 3, scale=1.5, seed=2)
MOVES: dict[str, tuple[Move, ...]] = {
    "euler": (Predict(SIGMA, 0.2, "euler"),),
    "tweedie": (Predict(SIGMA, 0.2, "tweedie"),),
    "tau-leaping": (Predict(SIGMA, 0.2, "tau-leaping"),),
    "theta-trapezoidal": (FirstStage(SIGMA, 0.2, 0.5), SecondStage(SIGMA - 0.1, 0.2, 0.5)),
    "denoise": (Denoise(SIGMA),),
    "exact": (OneSite(SIGMA),),
    "gated": (OneSite(SIGMA, 0.6),),
    "stale": (Stale(SIGMA, 3, None),),
    "stale with a threshold": (Stale(SIGMA, 3, 0.3),),
    "sync": (Synchronous(SIGMA, 2, 0.3),),
    "ctmc": (StationaryLeap(SIGMA, 0.2),),
    "blocks": (Propose(SIGMA, 1, 1.0), Verify(SIGMA, None)),
    "spaced blocks": (Propose(SIGMA, 2, 0.5), Verify(SIGMA, None)),
}


def fresh(source: Enumerable, tokens: torch.Tensor, first_seed: int = 0) -> TokenState:
    seeds = range(first_seed, first_seed + len(tokens))
    given = read_given(None, len(tokens), source.num_tokens, source.vocab_size)
    return TokenState(tokens, row_keys(seeds), given)


def advance(source: Enumerable, state: TokenState, moves: tuple[Move, ...]) -> None:
    for move in moves:
        move.apply(state, source.ratios(move.sigma)[source.index(state.tokens)])
        state.calls += 1


@pytest.mark.parametrize("name", MOVES)
def test_draws_follow_the_matrix(name: str) -> None:
    """27 states a law and 40,000 rows a start: each share is within five standard errors."""
    for start in (0, 14):
        expected = matrix(SOURCE, *MOVES[name])[start]
        state = fresh(SOURCE, SOURCE.states[start].expand(ROWS, -1), first_seed=1 + start * ROWS)
        advance(SOURCE, state, MOVES[name])
        found = torch.bincount(SOURCE.index(state.tokens), minlength=len(expected)) / ROWS
        error = (expected * (1 - expected) / ROWS).clamp(min=0).sqrt()
        assert ((found - expected).abs() <= 5 * error + 1e-5).all()


@pytest.mark.parametrize("name", MOVES)
def test_a_row_moves_alone_as_in_company(name: str) -> None:
    tokens = SOURCE.states[[3, 20, 11, 5, 20]]
    together = fresh(SOURCE, tokens)
    advance(SOURCE, together, MOVES[name])
    for row in range(len(tokens)):
        alone = fresh(SOURCE, tokens[row : row + 1], first_seed=row)
        advance(SOURCE, alone, MOVES[name])
        assert alone.tokens.equal(together.tokens[row : row + 1])


def test_segments_are_decided_on_their_own() -> None:
    """Twelve tokens in segments of four: within a segment all new or all old, and rows differ in which."""
    rows, length = 64, 12
    old = torch.ones(rows, length, 2)
    new = old.clone()
    new[:, :, 1] = 9.0
    state = TokenState(
        torch.zeros(rows, length, dtype=torch.int64),
        row_keys(range(rows)),
        read_given(None, rows, length, 2),
    )
    Propose(SIGMA, 1, 1.0).apply(state, old)
    proposed = state.tokens
    ratios = Verify(SIGMA, 4).apply(state, new)
    kept = (ratios == new).all(-1)
    changes = (kept[:, 1:] != kept[:, :-1]).sum(1)
    assert changes.max() <= 3
    assert 0.05 < kept.float().mean() < 0.95
    assert state.tokens.equal(torch.where(kept, proposed, 0))


def test_the_verdict_by_hand() -> None:
    """One pair, from 00 to 11. c was 1/2, 1/2 at both sites, c' is 1/4, 3/4: c'(1)c'(0) / c(1)c(0) = 3/4 a
    site, so sqrt(3/4 x 3/4) = 3/4 of the rows that propose it keep it.
    """
    rows = 20_000
    state = TokenState(
        torch.zeros(rows, 2, dtype=torch.int64), row_keys(range(rows)), read_given(None, rows, 2, 2)
    )
    Propose(SIGMA, 1, 1.0).apply(state, torch.ones(rows, 2, 2))
    proposed = state.tokens.all(1)
    Verify(SIGMA, None).apply(state, torch.tensor([1.0, 3.0]).expand(rows, 2, 2))
    kept = state.tokens[proposed].all(1).float().mean()
    assert abs(kept - 0.75) < 0.02
