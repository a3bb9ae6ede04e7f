"""Linears that mix rows on this machine are found, and cured by running them a sample at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from workers.models.row_linear import isolate_rows
from workers.models.row_probe import mixing_linears


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_after_the_probe_no_row_feels_its_company(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = nn.ModuleDict({"wide": nn.Linear(960, 192), "narrow": nn.Linear(192, 192)}).to(dtype)
    isolate_rows(net, list(mixing_linears(net)))
    for name, width in (("wide", 960), ("narrow", 192)):
        batch = torch.randn(8, 40, width).to(dtype)
        weight, bias = net[name].weight, net[name].bias
        alone = torch.cat([linear(sample, weight, bias) for sample in batch.split(1)])
        for size in (2, 3, 5, 7, 8):
            assert torch.equal(net[name](batch[:size]), alone[:size])


def test_a_linear_that_mixes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for a BLAS that rounds by the number of rows."""

    def crowded(batch: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        wide = weight.shape[1] > 8 and batch.ndim == 3 and batch.shape[0] > 2
        return linear(batch, weight, bias) + (1e-3 if wide else 0.0)

    monkeypatch.setattr("workers.models.row_probe.linear", crowded)
    net = nn.Sequential(nn.Linear(8, 4), nn.Linear(16, 4))
    assert list(mixing_linears(net)) == ["1"]
