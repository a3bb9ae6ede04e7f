"""The self-test passes here, and would notice a network whose rows feel each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from workers.engine import NotIsolated, self_test


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["plain", "distilled"])
def test_rows_are_isolated_on_this_machine(load_flux: Callable[..., Any], name: str, dtype: str) -> None:
    self_test(load_flux(name, dtype))


def test_a_leak_between_rows_is_noticed(load_flux: Callable[..., Any]) -> None:
    """One unit in the last place is enough: the second row's output nudges the first one's."""
    model = load_flux("plain")

    def leak(_module: Any, _args: Any, output: Tensor) -> Tensor:
        if output.shape[0] == 1:
            return output
        return torch.cat([torch.nextafter(output[:1], output[1:2]), output[1:]])

    handle = model.pipeline.transformer.proj_out.register_forward_hook(leak)
    with pytest.raises(NotIsolated, match="row 0 of 2"):
        self_test(model)
    handle.remove()
    self_test(model)
