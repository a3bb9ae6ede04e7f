"""Where a run of n full evaluations should have them: searched on the prompts, with linear forecasts between.

The searched static schedule is a rival of its own, and where the fitted paths begin.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from protocol.drafts import even_nodes
from workers.training.calibration.multistep import State, follow, linear_path, start
from workers.training.calibration.probe import Probe

_LOG = logging.getLogger(__name__)
_SWEEPS = 3
_LONG = 12
"""From so many anchors on one sweep does: the schedule it begins with is a searched one, respread."""
_EVEN_SHARE = 0.25


@torch.inference_mode()
def hardest(probe: Probe, count: int) -> Tensor:
    """Rows to search on: half of them those an even schedule strays furthest on, half from the rest."""
    nodes = even_nodes(max(1, round(_EVEN_SHARE * probe.num_steps)), probe.num_steps)
    everyone = torch.arange(len(probe))
    final, _ = follow(probe, linear_path(probe, nodes), everyone, start(probe, everyone))
    order = torch.argsort(probe.distance(final, everyone), descending=True)
    hard, rest = order[: count // 2], order[count // 2 :]
    spread = torch.linspace(0, len(rest) - 1, count - len(hard)).round().long()
    return torch.cat([hard, rest[spread]])


@torch.inference_mode()
def search_nodes(probe: Probe, first: Sequence[int], rows: Tensor) -> tuple[int, ...]:
    """Move one anchor at a time by one step while that brings the runs' ends closer (root mean square).

    Args:
        first: the schedule to begin with.
        rows: of the probe to try it on.
    """
    search = _Search(probe, tuple(first), rows)
    for _ in range(_SWEEPS if len(first) < _LONG else 1):
        before = search.best
        for place in range(1, len(first)):
            for move in (-1, 1):
                while search.try_move(place, move):
                    pass
        _LOG.info("static %d: %s at %.4f", len(first), search.nodes, search.best)
        if search.best == before:
            break
    return search.nodes


class _Search:
    """A schedule, what it comes to, and the states before its anchors."""

    def __init__(self, probe: Probe, nodes: tuple[int, ...], rows: Tensor) -> None:
        self._probe, self._rows = probe, rows
        self.nodes, self._passed = nodes, [start(probe, rows)]
        self.best, self._passed = self._run(nodes, 0)

    def try_move(self, place: int, move: int) -> bool:
        """Move an anchor if that is better."""
        moved = self.nodes[place] + move
        above = self.nodes[place + 1] if place + 1 < len(self.nodes) else self._probe.num_steps
        if not self.nodes[place - 1] < moved < above:
            return False
        nodes = (*self.nodes[:place], moved, *self.nodes[place + 1 :])
        cost, passed = self._run(nodes, place - 1)
        if cost >= self.best:
            return False
        self.nodes, self.best, self._passed = nodes, cost, passed
        return True

    def _run(self, nodes: tuple[int, ...], gap: int) -> tuple[float, list[State]]:
        """The cost of a schedule that agrees with the present one up to anchor `gap`, and its states."""
        path = linear_path(self._probe, nodes)
        final, passed = follow(self._probe, path, self._rows, self._passed[gap], gap)
        cost = float(self._probe.distance(final, self._rows).square().mean().sqrt())
        return cost, [*self._passed[:gap], *passed]


def respread(nodes: Sequence[int], count: int, num_steps: int) -> tuple[int, ...]:
    """`count` anchors at the density of `nodes`: places read off the line through these, from 0."""
    line = [float(node) for node in (*nodes, num_steps)]
    factor = (len(nodes) - 0.5) / (count - 0.5)
    result: list[int] = []
    for place in range(count):
        at = place * factor
        left = min(int(at), len(line) - 2)
        node = round(line[left] + (at - left) * (line[left + 1] - line[left]))
        lowest = result[-1] + 1 if result else 0
        result.append(min(max(node, lowest), num_steps - count + place))
    return tuple(result)
