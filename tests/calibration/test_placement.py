"""Anchors placed by what outputs tell of one another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from workers.training.calibration.placement import Placement
from workers.training.calibration.probe import Probe


def directions(probe: Probe, of_steps: list[int]) -> Probe:
    """The probe with outputs that are unit vectors: the same direction where the number is the same."""
    outputs = torch.zeros_like(probe.outputs)
    for step, direction in enumerate(of_steps):
        outputs[:, step, 0, direction] = 1.0
    return replace(probe, outputs=outputs)


def test_an_anchor_stands_where_the_output_turns(probe: Probe) -> None:
    for turn in range(1, 6):
        placement = Placement(directions(probe, [0] * turn + [1] * (6 - turn)))
        assert placement.place(2) == (0, turn)
        assert placement.rest((0, turn)) == pytest.approx(0.0, abs=1e-4)


def test_the_rest_by_hand(probe: Probe) -> None:
    """Two steps in a direction not seen before: what they add, at anchor 2's weight."""
    placement = Placement(directions(probe, [0, 0, 0, 0, 1, 1]))
    lengths = probe.final.flatten(1).norm(dim=1)
    missing = (1 + 0.5 * probe.schedule.sigmas[2] ** 2) * abs(probe.steps[4] + probe.steps[5]) / lengths
    assert placement.rest((0, 2)) == pytest.approx(float(missing.mean()), rel=1e-4)


def test_anchors_everywhere_leave_nothing(probe: Probe) -> None:
    placement = Placement(probe)
    assert placement.place(6) == (0, 1, 2, 3, 4, 5)
    assert placement.rest(range(6)) == pytest.approx(0.0, abs=1e-4)


def test_no_pair_is_better_than_the_one_that_is_found(probe: Probe) -> None:
    placement = Placement(probe)
    rests = {(0, node): placement.rest((0, node)) for node in range(1, 6)}
    assert rests[placement.place(2)] == min(rests.values())
