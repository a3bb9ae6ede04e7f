"""Where a path has its anchors: where what lies between is best known from the outputs before.

Nothing is evaluated. Of an unabridged run the part that a gap skips is projected on the last outputs before
it; what is left is what no fixed weights can give. The gaps' rests, as if they were independent, are a run's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import torch
from torch import Tensor

from protocol.drafts import even_nodes
from workers.training.calibration.multistep import HISTORY
from workers.training.calibration.probe import Probe

_MOVES = (-1, 1)
_RIDGE = 1e-9
"""Of the mean square of an output; keeps apart outputs that are nearly equal."""
_LEAST_GAIN = 1e-6
_NOISE_WEIGHT = 0.5
"""A rest at noise level sigma counts 1 + this times sigma squared: early ones move what comes after them.
Without it seven anchors begin with a gap of four steps, and more runs turn into another picture."""


class Placement:
    """Anchors for any number of them, from the probe's outputs."""

    def __init__(self, probe: Probe) -> None:
        self._steps = torch.tensor(probe.steps, dtype=torch.float64)
        self._weights = [1 + _NOISE_WEIGHT * sigma**2 for sigma in probe.schedule.sigmas]
        lengths = probe.final.float().flatten(1).norm(dim=1)
        outputs = probe.outputs.float().flatten(2) / lengths[:, None, None]
        self._products = torch.einsum("bid,bjd->bij", outputs, outputs).double()
        self._mean = self._products.mean(0)
        self._known: dict[tuple[tuple[int, ...], int], Tensor] = {}

    def place(self, count: int) -> tuple[int, ...]:
        """`count` anchors, rising from 0, that no move of one, or of several side by side, makes better."""
        num_steps = len(self._steps)
        nodes = even_nodes(count, num_steps, bend=1.0)
        best, moved = self.rest(nodes), True
        while moved:
            moved = False
            for candidate in _neighbours(nodes, num_steps):
                rest = self.rest(candidate)
                if rest < best - _LEAST_GAIN:
                    nodes, best, moved = candidate, rest, True
                    break
        return nodes

    def rest(self, nodes: Sequence[int]) -> float:
        """What is left of a run with these anchors, weighted, relative to its end; mean over prompts."""
        gaps = pairwise((*nodes, len(self._steps)))
        squares = [
            self._weights[node] ** 2 * self._gap(tuple(nodes[max(0, place + 1 - HISTORY) : place + 1]), end)
            for place, (node, end) in enumerate(gaps)
        ]
        return float(torch.stack(squares).sum(0).sqrt().mean())

    def _gap(self, anchors: tuple[int, ...], end: int) -> Tensor:
        """The squared rest (B,) of the gap after the last of these anchors, least squares over all runs."""
        key = (anchors, end)
        if key not in self._known:
            known, wanted = torch.tensor(anchors), torch.zeros_like(self._steps)
            wanted[anchors[-1] : end] = self._steps[anchors[-1] : end]
            normal = self._mean[known][:, known]
            normal = normal + _RIDGE * normal.diagonal().mean() * torch.eye(len(anchors))
            wanted[known] -= torch.linalg.solve(normal, self._mean[known] @ wanted)
            self._known[key] = torch.einsum("i,bij,j->b", wanted, self._products, wanted).clamp(min=0)
        return self._known[key]


def _neighbours(nodes: tuple[int, ...], num_steps: int) -> list[tuple[int, ...]]:
    """Schedules in which a run of anchors, one or more, has moved together; the first anchor stays at 0."""
    moved = [
        (*nodes[:begin], *(node + move for node in nodes[begin:end]), *nodes[end:])
        for begin, end in combinations(range(1, len(nodes) + 1), 2)
        for move in _MOVES
    ]
    return [
        candidate
        for candidate in moved
        if candidate[-1] < num_steps and all(now < after for now, after in pairwise(candidate))
    ]
