"""SoftCap's paths without a calibration: what the fit starts from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from workers.core import newton_weights

Path = dict[str, Any]


def linear(nodes: Sequence[int], steps: int) -> Path:
    """The path that extrapolates linearly in sigma from the last two outputs, on even sigmas."""
    sigmas = [1 - index / steps for index in range(steps + 1)]
    rows = []
    for gap, (begin, end) in enumerate(pairwise((*nodes, steps))):
        known = nodes[max(0, gap - 1) : gap + 1]
        row = [0.0] * len(known)
        row[-1] = 1.0
        for index in range(begin + 1, end):
            weights = newton_weights([sigmas[node] for node in known], sigmas[index], 1)
            row = [so_far + weight for so_far, weight in zip(row, weights, strict=True)]
        rows.append([weight / (end - begin) for weight in row])
    return {"nodes": list(nodes), "weights": rows}
