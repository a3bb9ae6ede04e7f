"""Linears that see one row a sample give each row the bits it has alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workers.models.row_linear import RowLinear, isolate_rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [2, 3, 5, 8])
def test_a_row_is_the_same_alone_and_among_others(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(0)
    linear = RowLinear.of(nn.Linear(96, 160).to(dtype))
    batch = torch.randn(rows, 96).to(dtype)
    alone = torch.cat([nn.functional.linear(row[None], linear.weight, linear.bias) for row in batch])
    assert torch.equal(linear(batch), alone)


def test_holds_the_very_parameters_under_the_same_names() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 4, bias=False))
    before = dict(net.named_parameters())
    isolate_rows(net, ["0", "2"])
    assert isinstance(net[0], RowLinear)
    after = dict(net.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


def test_stays_a_linear_for_loaders_and_adapters() -> None:
    """LoRA finds its targets by isinstance, weights by name."""
    net = nn.Sequential(nn.Linear(4, 8))
    isolate_rows(net, ["0"])
    assert isinstance(net[0], nn.Linear)
    net.load_state_dict({"0.weight": torch.ones(8, 4), "0.bias": torch.zeros(8)})
    assert net(torch.ones(2, 4)).tolist() == [[4.0] * 8] * 2


def test_twice_is_once() -> None:
    net = nn.Sequential(nn.Linear(4, 8))
    isolate_rows(net, ["0"])
    first = net[0]
    isolate_rows(net, ["0"])
    assert net[0] is first


def test_refuses_what_is_no_linear() -> None:
    with pytest.raises(TypeError, match="SiLU"):
        isolate_rows(nn.Sequential(nn.SiLU()), ["0"])
