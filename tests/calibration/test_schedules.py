"""Searched and respread schedules."""

from __future__ import annotations

import pytest
import torch

from protocol.drafts import even_nodes
from workers.training.calibration.multistep import follow, linear_path, start
from workers.training.calibration.probe import Probe
from workers.training.calibration.schedules import hardest, respread, search_nodes


def cost(probe: Probe, nodes: tuple[int, ...], rows: torch.Tensor) -> float:
    with torch.inference_mode():
        end, _ = follow(probe, linear_path(probe, nodes), rows, start(probe, rows))
    return float(probe.distance(end, rows).square().mean().sqrt())


def test_a_search_never_ends_worse_than_it_began(probe: Probe) -> None:
    rows = torch.arange(len(probe))
    for count in (2, 3, 4):
        first = even_nodes(count, probe.num_steps)
        found = search_nodes(probe, first, rows)
        assert len(found) == count
        assert found[0] == 0
        assert list(found) == sorted(set(found))
        assert cost(probe, found, rows) <= cost(probe, first, rows)


def test_a_search_finds_the_best_of_all_pairs(probe: Probe) -> None:
    """Two anchors of six steps: only five schedules, and costs that fall towards the best from both sides."""
    rows = torch.arange(len(probe))
    costs = {node: cost(probe, (0, node), rows) for node in range(1, 6)}
    best = min(costs, key=costs.__getitem__)
    assert search_nodes(probe, (0, max(1, best - 1)), rows) == (0, best)


@pytest.mark.parametrize("count", [1, 2, 5, 9, 14, 28])
def test_respread_schedules_rise_and_stay_inside(count: int) -> None:
    nodes = respread((0, 2, 5, 9, 14, 20, 25), count, 28)
    assert len(nodes) == count
    assert nodes[0] == 0
    assert list(nodes) == sorted(set(nodes))
    assert nodes[-1] < 28


def test_respread_to_its_own_length_changes_nothing() -> None:
    nodes = (0, 2, 5, 9, 14, 20, 25)
    assert respread(nodes, 7, 28) == nodes


def test_respread_keeps_the_density() -> None:
    """Twice as many anchors as gaps of two: one a step at the beginning, where the seven stand two apart."""
    assert respread((0, 2, 4, 12, 20), 10, 28)[:4] == (0, 1, 2, 3)


def test_the_hardest_rows_are_among_those_searched_on(probe: Probe) -> None:
    even = even_nodes(2, probe.num_steps)
    everyone = torch.arange(len(probe))
    with torch.inference_mode():
        end, _ = follow(probe, linear_path(probe, even), everyone, start(probe, everyone))
    worst = int(probe.distance(end, everyone).argmax())
    rows = hardest(probe, 4)
    assert len(set(rows.tolist())) == 4
    assert worst in rows.tolist()
