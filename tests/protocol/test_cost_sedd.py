from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from protocol.cost.sedd import sedd_cost
from protocol.sedd_shape import SeddShape
from tests.protocol.counting import count_flop, on_meta
from workers.models.sedd_modules import SEDD, SeddConfig

TINY: dict[str, Any] = {"tokens": 13, "hidden_size": 48, "cond_dim": 32, "n_blocks": 3, "n_heads": 2}


@pytest.mark.parametrize(("parameterization", "length"), [("score", 20), ("leave_one_out", 7)])
def test_torch_counts_the_same(parameterization: Any, length: int) -> None:
    config = SeddConfig(**TINY, length=32, positions=True, parameterization=parameterization)
    network = SEDD(config).eval()
    tokens, sigma = torch.zeros(1, length, dtype=torch.int64), torch.ones(1)
    cost = sedd_cost(config, tokens=length)
    assert cost.evaluation == count_flop(lambda: network(tokens, sigma))
    assert cost.blocks == (count_flop(lambda: block(network, length)),) * 3


def block(network: SEDD, length: int) -> object:
    return network.blocks[0](torch.zeros(1, length, 48), network.rotary_emb(length), torch.zeros(1, 32))


def test_the_published_small_shape_counts_the_same() -> None:
    config = SeddConfig(tokens=50257)
    with on_meta():
        network = SEDD(config)
        counted = count_flop(lambda: network(torch.zeros(1, 1024, dtype=torch.int64), torch.ones(1)))
    assert sedd_cost(SeddShape(tokens=50257), tokens=1024).evaluation == counted


def test_by_hand() -> None:
    """D = 4, cond 2, one block, 3 tokens of a vocabulary of 5.

    Block: 2 x 2 x 24 modulation, 2 x 3 x 4 x 12 and 2 x 3 x 4 x 4 projections, 4 x 3 x 3 x 4 attention,
    2 x 2 x 3 x 4 x 16 feed-forward: 96 + 288 + 96 + 144 + 768 = 1392.
    """
    shape = SeddShape(tokens=5, hidden_size=4, cond_dim=2, length=3, n_blocks=1, n_heads=2)
    cost = sedd_cost(shape, tokens=3)
    assert cost.blocks == (1392,)
    assert cost.embed == 2 * 256 * 2 + 2 * 2 * 2
    assert cost.head == 2 * 2 * 8 + 2 * 3 * 4 * 5


def test_heads_of_odd_width_are_refused() -> None:
    with pytest.raises(ValidationError, match="twice n_heads"):
        SeddShape(tokens=5, hidden_size=6, n_heads=2)
