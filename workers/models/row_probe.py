"""Finds the Linears whose rounding depends on how many samples stand beside each other on this machine.

A matrix product may split its inner dimension by the number of rows it is given: with AMX, oneDNN's bfloat16
products do so from some inner dimension on. Which ones is the library's business, so it is tried and not
guessed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.functional import linear

_TOKENS = (16, 20, 32, 64, 80)
_SAMPLES = (2, 3, 5, 8)


@torch.inference_mode()
def mixing_linears(root: nn.Module) -> Iterator[str]:
    """Names of the Linears of `root` that give a sample (tokens, D) other bits in company than alone.

    Nothing on a GPU: there row isolation is a stated tolerance.
    """
    known: dict[tuple[int, int, torch.dtype], bool] = {}
    for name, module in root.named_modules():
        if isinstance(module, nn.Linear) and module.weight.device.type == "cpu":
            shape = (module.in_features, module.out_features, module.weight.dtype)
            if shape not in known:
                known[shape] = _mixes(module)
            if known[shape]:
                yield name


def _mixes(module: nn.Linear) -> bool:
    weight, bias = module.weight, module.bias
    generator = torch.Generator().manual_seed(0)
    for tokens in _TOKENS:
        batch = torch.randn(max(_SAMPLES), tokens, module.in_features, generator=generator).to(weight.dtype)
        alone = torch.cat([linear(sample, weight, bias) for sample in torch.split(batch, 1)])
        if any(not torch.equal(linear(batch[:size], weight, bias), alone[:size]) for size in _SAMPLES):
            return True
    return False
