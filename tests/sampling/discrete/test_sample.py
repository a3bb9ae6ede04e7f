"""The function: calls counted, given tokens kept, edges right, and errors that name the argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.discrete_exact.enumerable import autoregressive, total_variation
from workers.sampling.discrete import CORRECTORS, InvalidArgument, sample
from workers.sampling.discrete.predictors import PREDICTORS

SOURCE = autoregressive(4, 5, seed=1)


class Counted:
    """The source's score, and how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        assert tokens.dtype is torch.int64
        assert sigma.shape == tokens.shape[:1]
        return SOURCE.score(tokens, sigma)


def draw(**changes: Any) -> Tensor:
    asked: dict[str, Any] = {"num_tokens": 5, "vocab_size": 4, "nfe": 6, "batch": 3}
    asked |= changes
    if "seeds" not in asked:
        asked.setdefault("generator", torch.Generator().manual_seed(7))
    return sample(asked.pop("score", SOURCE.score), **asked)


@pytest.mark.parametrize("corrector", CORRECTORS)
@pytest.mark.parametrize("nfe", [1, 2, 3, 4, 7, 16])
def test_every_call_of_score_is_counted(corrector: str, nfe: int) -> None:
    for denoise in (True, False):
        score = Counted()
        tokens = draw(score=score, nfe=nfe, corrector=corrector, denoise=denoise)
        assert score.calls == nfe
        assert tokens.shape == (3, 5)
        assert 0 <= tokens.min() <= tokens.max() < 4


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("nfe", [1, 2, 5, 6])
def test_calls_of_every_predictor(predictor: str, nfe: int) -> None:
    for corrector in ("none", "exact", "blocks"):
        score = Counted()
        draw(score=score, nfe=nfe, corrector=corrector, predictor=predictor)
        assert score.calls == nfe


def test_sweeps_that_are_evaluated_again_cost_a_call_each() -> None:
    for frozen in (True, False):
        score = Counted()
        draw(score=score, nfe=13, corrector="sync", sweeps=3, frozen=frozen)
        assert score.calls == 13


@pytest.mark.parametrize("corrector", CORRECTORS)
def test_given_tokens_are_kept(corrector: str) -> None:
    """Point 8: a prefix, positions, a list with gaps, a tensor a row, a mask."""
    prefix = torch.tensor([3, 1])
    assert draw(corrector=corrector, given=prefix)[:, :2].equal(prefix.expand(3, 2))
    spots = draw(corrector=corrector, given={4: 2, 1: 0})
    assert spots[:, [4, 1]].tolist() == [[2, 0]] * 3
    assert draw(corrector=corrector, given=[None, 3, None])[:, 1].tolist() == [3] * 3
    rows = torch.tensor([[0, 1], [2, 3], [1, 1]])
    assert draw(corrector=corrector, given=rows)[:, :2].equal(rows)
    mask = torch.tensor([True, False, False, True, False])
    kept = draw(corrector=corrector, given=(mask, torch.tensor([2, 0, 0, 3, 0])))
    assert kept[:, mask].tolist() == [[2, 3]] * 3


@pytest.mark.parametrize("corrector", CORRECTORS)
def test_all_given_and_none_given(corrector: str) -> None:
    score, everything = Counted(), torch.tensor([3, 2, 1, 0, 3])
    assert draw(score=score, corrector=corrector, given=everything).tolist() == [everything.tolist()] * 3
    assert score.calls == 0
    assert draw(corrector=corrector, given=[]).equal(draw(corrector=corrector, given=None))


@pytest.mark.parametrize("corrector", CORRECTORS)
def test_one_token_two_values(corrector: str) -> None:
    """d = 1, S = 2: its law is .7, .3 where a corrector is exact for one token, and none is far from it."""
    ratio = torch.tensor([0.7, 0.3])

    def score(tokens: Tensor, sigma: Tensor) -> Tensor:
        kept = torch.exp(-sigma)[:, None, None]
        law = (kept * ratio + (1 - kept) / 2).expand(-1, 1, -1)
        return law / law.gather(-1, tokens[..., None])

    tokens = draw(score=score, num_tokens=1, vocab_size=2, corrector=corrector, batch=20_000, nfe=12)
    share = float((tokens == 0).float().mean())
    if corrector in ("none", "exact", "gated", "blocks"):
        assert abs(share - 0.7) < 0.015
    assert 0.4 < share <= 1.0


def test_exact_with_one_evaluation_is_one_denoising() -> None:
    """From even tokens at sigma 6 straight to none: every corrector does the same."""
    results = [draw(nfe=1, corrector=corrector, predictor=None, batch=64) for corrector in CORRECTORS]
    assert all(each.equal(results[0]) for each in results)


def test_ours_is_the_default_and_comes_close_to_the_law() -> None:
    rows = 20_000
    tokens = sample(SOURCE.score, num_tokens=5, vocab_size=4, nfe=33, batch=rows, seeds=range(rows))
    found = torch.bincount(SOURCE.index(tokens), minlength=4**5) / rows
    law = SOURCE.law.flatten()
    noise = float((law * (1 - law) / rows).sqrt().sum() * 0.4)
    assert total_variation(found.double(), law) < 1.15 * noise


@pytest.mark.parametrize("corrector", CORRECTORS)
def test_a_seed_gives_the_same_row_in_any_batch(corrector: str) -> None:
    together = draw(corrector=corrector, batch=4, seeds=[5, 6, 7, 5], given=[1], nfe=9)
    assert together[0].equal(together[3])
    assert not together[0].equal(together[1]) or not together[0].equal(together[2])
    for row, seed in enumerate((5, 6, 7)):
        assert draw(corrector=corrector, batch=1, seeds=[seed], given=[1], nfe=9)[0].equal(together[row])


def test_a_generator_decides_everything() -> None:
    first, again = draw(), draw()
    assert first.equal(again)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    draw()
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("param", "changes", "allowed"),
    [
        ("given", {"given": torch.zeros(6, dtype=torch.int64)}, "at most num_tokens, 5"),
        ("given", {"given": [0] * 6}, "at most num_tokens, 5"),
        ("given", {"given": [1, 4]}, "0 to 3"),
        ("given", {"given": torch.tensor([-1])}, "0 to 3"),
        ("given", {"given": {5: 0}}, "0 to 4"),
        ("given", {"given": torch.tensor([0.5])}, "whole numbers"),
        ("given", {"given": [1, 0.5]}, "whole numbers"),
        ("given", {"given": torch.zeros(2, 3, dtype=torch.int64)}, "1 or 3"),
        ("given", {"given": (torch.ones(4, dtype=torch.bool), torch.zeros(4).long())}, "(5,)"),
        ("nfe", {"nfe": 0}, "from 1 up"),
        ("nfe", {"nfe": 2.5}, "from 1 up"),
        ("batch", {"batch": 0}, "from 1 up"),
        ("num_tokens", {"num_tokens": 0}, "from 1 up"),
        ("vocab_size", {"vocab_size": 1}, "from 2 up"),
        ("vocab_size", {"vocab_size": 2**17}, "131071"),
        ("corrector", {"corrector": "gibs"}, "blocks, exact, gated"),
        ("predictor", {"predictor": "heun"}, "euler, tweedie"),
        ("predictor", {"predictor": "tweedie", "corrector": "gadd-paper"}, "'euler'"),
        ("threshold", {"threshold": 0.1}, "spacing"),
        ("threshold", {"threshold": 1.5, "corrector": "stale"}, "(0, 1]"),
        ("updates", {"updates": -1, "corrector": "exact"}, "from 0 up"),
        ("temperature", {"temperature": 1.0}, "grid"),
        ("grid", {"grid": "cosine"}, "geometric"),
        ("sigma_min", {"sigma_min": 7.0}, "below sigma_max"),
        ("spacing", {"spacing": 0}, "from 1 up"),
        ("segment", {"segment": 0}, "from 1 up"),
        ("seeds", {"seeds": [1, 2]}, "batch, 3"),
    ],
)
def test_errors_name_the_argument_and_what_is_allowed(
    param: str, changes: dict[str, Any], allowed: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        draw(**changes)
    assert raised.value.param == param
    assert allowed in str(raised.value)
    assert isinstance(raised.value, ValueError)


def test_a_score_of_another_shape_or_without_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 5, 4\)"):
        draw(score=lambda tokens, sigma: torch.ones(3, 4, 5))
    with pytest.raises(ValueError, match="not numbers at call 0"):
        draw(score=lambda tokens, sigma: torch.full((3, 5, 4), torch.nan))
