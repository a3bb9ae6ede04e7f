"""What networks predict, turned into each other: the only place with this algebra.

On a straight path x = (1 - sigma) x0 + sigma eps each of three predictions tells the other two:

| from | flow = eps - x0           | x0            | eps                    |
|------|---------------------------|---------------|------------------------|
| flow | v                         | x - sigma v   | x + (1 - sigma) v      |
| x0   | (x - x0) / sigma          | x0            | by the flow            |
| eps  | (eps - x) / (1 - sigma)   | by the flow   | eps                    |

The engine speaks flow: a network's output is converted once, right after its head, and solvers, caches,
guidance and previews see nothing else. Guidance may come before or after: all rows are affine in the output.

Source: Fu et al. 2026 (JLT, arXiv:2605.27102), with t = 1 - sigma and its velocity's sign turned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from workers.core.layout import Layout, Prediction

PREDICTION_TYPES: Mapping[Prediction, str] = {
    Prediction.FLOW: "flow_prediction",
    Prediction.X0: "sample",
    Prediction.EPS: "epsilon",
}
"""What diffusers' schedulers call them."""

Level = float | Tensor
"""A noise level in [0, 1], or one a row that broadcasts against latents, float32."""


def to_flow(
    prediction: Prediction, output: Tensor, latents: Tensor, sigma: Level, clamp: float = 0.0
) -> Tensor:
    """The velocity eps - x0 that an output stands for; a flow itself comes back untouched.

    Args:
        prediction: what `output` is.
        output: (..., S, C), guided or not.
        latents: where it was made; broadcasts against it.
        sigma: the noise level there.
        clamp: the least divisor, see `Layout.clamp`.

    Returns:
        As `output`, worked out in float32 and rounded once to its dtype.
    """
    if prediction is Prediction.FLOW:
        return output
    exact, at = output.to(torch.float32), latents.to(torch.float32)
    if prediction is Prediction.X0:
        flow = (at - exact) / _at_least(sigma, clamp)
    else:
        flow = (exact - at) / _at_least(1 - sigma, clamp)
    return flow.to(output.dtype)


def from_flow(prediction: Prediction, flow: Tensor, latents: Tensor, sigma: Level) -> Tensor:
    """What a network of that kind would have put out for this velocity; arguments as of `to_flow`."""
    if prediction is Prediction.FLOW:
        return flow
    share = -sigma if prediction is Prediction.X0 else 1 - sigma
    return (latents.to(torch.float32) + share * flow.to(torch.float32)).to(flow.dtype)


def head_flow(layout: Layout) -> Callable[[Tensor, Tensor, float], Tensor]:
    """(output, latents, sigma) -> flow, for the outputs of a network's head.

    Ratios of tokens are on no straight path; they come back untouched.
    """
    if layout.prediction is Prediction.LOG_RATIO:
        return lambda output, _latents, _sigma: output
    return lambda output, latents, sigma: to_flow(layout.prediction, output, latents, sigma, layout.clamp)


def _at_least(divisor: Level, clamp: float) -> Level:
    return divisor.clamp(min=clamp) if isinstance(divisor, Tensor) else max(divisor, clamp)
