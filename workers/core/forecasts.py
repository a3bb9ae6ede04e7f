"""Forecasts as weights on what was evaluated before: the host does the algebra, tensors meet once.

Solvers and caches extrapolate alike, so the weights stand on the lowest floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def taylor_weights(anchors: Sequence[float], at: float, order: int) -> tuple[float, ...]:
    """Weights of a Taylor forecast made of backward differences divided by the anchors' spacing.

    Args:
        anchors: places, oldest first; fewer than `order` + 1 give a lower order.
        at: the place to forecast.
        order: at least 0.

    Returns:
        A weight an anchor, oldest first; they add up to 1. Exact on what is linear; with anchors N apart the
        second order misses k^2 by -N x at a distance x, see `newton_weights`.

    Source: Liu et al. 2025 (TaylorSeer), eq. 3; differences as in its public code.
    """
    count = len(anchors)
    differences = [[float(row == column) for column in range(count)] for row in range(count)]
    weights, factor = [0.0] * count, 1.0
    for degree in range(min(order, count - 1) + 1):
        if degree:
            factor *= (at - anchors[-1]) / degree
            differences = [
                [(new - old) / (right - left) for old, new in zip(lower, upper, strict=True)]
                for left, right, lower, upper in zip(
                    anchors[degree - 1 :], anchors[degree:], differences[:-1], differences[1:], strict=False
                )
            ]
        weights = [so_far + factor * more for so_far, more in zip(weights, differences[-1], strict=True)]
    return tuple(weights)


def newton_weights(anchors: Sequence[float], at: float, order: int) -> tuple[float, ...]:
    """Weights of the polynomial through the last `order` + 1 anchors, read at `at`; older ones weigh 0.

    Exact on polynomials up to that order, whatever the spacing.
    """
    used = anchors[-(order + 1) :]
    weights = []
    for place in used:
        weight = 1.0
        for other in used:
            if other != place:
                weight *= (at - other) / (place - other)
        weights.append(weight)
    return (0.0,) * (len(anchors) - len(used)) + tuple(weights)


def combine(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum, added up in float32 and rounded once to the tensors' dtype; zero weights are free.

    Args:
        tensors: of one shape.
        weights: one each.
    """
    used = [(tensor, weight) for tensor, weight in zip(tensors, weights, strict=True) if weight]
    if not used:
        return torch.zeros_like(tensors[0])
    if len(used) == 1 and used[0][1] == 1.0:
        return used[0][0]
    total = used[0][0].to(torch.float32) * used[0][1]
    for tensor, weight in used[1:]:
        total.add_(tensor, alpha=weight)
    return total.to(tensors[0].dtype)
