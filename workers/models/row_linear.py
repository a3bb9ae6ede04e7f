"""Linears that give a row the same bits whatever stands beside it.

A matrix product with fewer than four rows takes another path through the BLAS than one with more, and rounds
otherwise. Most Linears of a transformer see tokens, hundreds of rows; those fed by the time
embedding see one row a sample, so these run row by row, and with them what `row_probe` finds.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class RowLinear(nn.Linear):
    """An nn.Linear whose input (R, ..., D) is multiplied one row at a time. Same parameters, same names."""

    @classmethod
    def of(cls, plain: nn.Linear) -> RowLinear:
        """The row-wise twin of `plain`, holding its very parameters."""
        with torch.device("meta"):
            twin = cls(plain.in_features, plain.out_features, plain.bias is not None)
        twin.weight, twin.bias = plain.weight, plain.bias
        return twin.train(plain.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (nn.Linear's name)
        weight, bias = self.weight, self.bias
        if input.shape[0] == 1:
            return linear(input, weight, bias)
        return torch.cat([linear(row, weight, bias) for row in torch.split(input, 1)])


def isolate_rows(root: nn.Module, names: Iterable[str]) -> None:
    """Put a RowLinear in the place of each Linear named, relative to `root`. Doing it twice changes nothing.

    Raises:
        TypeError: what stands there is no Linear.
    """
    for name in names:
        parent_name, _, leaf = name.rpartition(".")
        parent, module = root.get_submodule(parent_name), root.get_submodule(name)
        if isinstance(module, RowLinear):
            continue
        if not isinstance(module, nn.Linear):
            raise TypeError(f"{name} is a {type(module).__name__}, not a Linear")
        setattr(parent, leaf, RowLinear.of(module))
