"""The torch side of the Gibbs step: draws by hand, rules, sites."""

from __future__ import annotations

import pytest
import torch

from workers.kernels import gibbs_step
from workers.kernels.gibbs import integer_weights

ROW = torch.tensor([[[1.0, 2.0, 1.0]]])
TOKENS, SITES = torch.tensor([[1]]), torch.tensor([[0]])


def step(uniform: float, **rules: float) -> int:
    return int(gibbs_step(TOKENS, ROW, SITES, torch.tensor([[uniform]]), **rules))


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 0), (0.24, 0), (0.25, 1), (0.74, 1), (0.75, 2), (0.99, 2)]
)
def test_draws_by_hand(uniform: float, token: int) -> None:
    """Probabilities 1/4, 2/4, 1/4: the running sum passes at .25 and .75."""
    assert step(uniform) == token


def test_threshold_changes_unlikely_tokens_only() -> None:
    """The token's probability is 1/2."""
    assert step(0.0, threshold=0.4) == 1
    assert step(0.0, threshold=0.5) == 1
    assert step(0.0, threshold=0.6) == 0


def test_confidence_asks_for_a_likely_value() -> None:
    """The largest probability is 1/2."""
    assert step(0.0, confidence=0.4) == 0
    assert step(0.0, confidence=0.5) == 1
    assert step(0.0, confidence=0.6) == 1


def test_only_the_sites_named_change() -> None:
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    ratios = torch.tensor([0.0, 1.0]).expand(2, 4, 2)
    sites = torch.tensor([[2, -1], [0, 3]])
    moved = gibbs_step(tokens, ratios, sites, torch.full((2, 2), 0.5))
    assert moved.tolist() == [[0, 0, 1, 0], [1, 0, 0, 1]]
    assert tokens.sum() == 0


def test_an_infinite_ratio_is_the_token() -> None:
    row = torch.tensor([[[1.0, torch.inf, 0.0]]])
    assert int(gibbs_step(TOKENS, row, SITES, torch.tensor([[0.999]]))) == 1


def test_weights_do_not_depend_on_scale() -> None:
    rows = torch.rand(50, 7, generator=torch.Generator().manual_seed(1))
    assert integer_weights(rows).equal(integer_weights(rows * 8))
    assert (integer_weights(rows).amax(-1) == 2**24).all()
