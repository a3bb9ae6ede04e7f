"""Muon in float32, equal shapes together.

torch's own orthogonalises in bfloat16, one matrix at a time; a CPU without units for it spends more on that
than on the whole step. 100 matrices of 160 x 160 and 160 x 448 are three batched products here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class FloatMuon(torch.optim.Muon):
    """`torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, its state, in the weights' dtype."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient; a closure is not taken."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                self._update(group, parameters)

    def _update(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> None:
        """Nesterov momentum, orthogonalised, scaled to AdamW's root mean square, with decoupled decay."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffers = [self._buffer(parameter) for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
        updates = orthogonalise(torch.stack(list(ahead)), group["ns_coefficients"], group["ns_steps"])
        rate = group["lr"] * 0.2 * max(parameters[0].shape) ** 0.5
        weights: list[Tensor] = list(parameters)
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, list(updates.unbind()), alpha=-rate)

    def _buffer(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonalise(matrices: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """Bring the singular values of (N, R, C) matrices near one by a quintic Newton-Schulz iteration.

    Source: Jordan et al. 2024, "Muon".
    """
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / wide.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if tall else wide
