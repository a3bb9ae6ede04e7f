"""Fitted paths: where they begin, what a fit may not do, and that it does what it is for."""

from __future__ import annotations

import pytest
import torch

from workers.training.calibration.multistep import Path, fit, follow, linear_path, start
from workers.training.calibration.probe import Probe

NODES = (0, 2, 4)


def distance(probe: Probe, path: Path) -> torch.Tensor:
    rows = torch.arange(len(probe))
    with torch.inference_mode():
        end, _ = follow(probe, path, rows, start(probe, rows))
    return probe.distance(end, rows)


def test_a_path_of_every_step_is_the_unabridged_run(probe: Probe) -> None:
    """Six anchors of six: each gap is its own step, nothing is extrapolated."""
    path = linear_path(probe, range(6))
    assert [row[-1] for row in path.weights] == pytest.approx(probe.steps)
    assert float(distance(probe, path).max()) < 1e-6


def test_linear_weights_by_hand(probe: Probe) -> None:
    """The first gap repeats v_0 twice; at step 3 it is (s3 - s0) / (s2 - s0) of v_2, the rest v_0."""
    sigmas, steps = probe.schedule.sigmas, probe.steps
    path = linear_path(probe, NODES)
    newest = (sigmas[3] - sigmas[0]) / (sigmas[2] - sigmas[0])
    assert path.weights[0] == pytest.approx((steps[0] + steps[1],))
    assert path.weights[1] == pytest.approx((steps[3] * (1 - newest), steps[2] + steps[3] * newest))


def test_a_fit_brings_the_ends_closer(probe: Probe) -> None:
    rows = torch.arange(len(probe))
    before = linear_path(probe, NODES)
    after = fit(probe, before, rows, rounds=2)
    assert after.nodes == NODES
    assert float(distance(probe, after).mean()) < 0.9 * float(distance(probe, before).mean())


def test_a_fit_from_a_gap_on_leaves_the_gaps_before(probe: Probe) -> None:
    rows = torch.arange(len(probe))
    path = linear_path(probe, NODES)
    with torch.inference_mode():
        _, passed = follow(probe, path, rows, start(probe, rows))
    after = fit(probe, path, rows, entry=passed[1], gap=1, rounds=1)
    assert after.weights[0] == path.weights[0]
    assert after.weights[1:] != path.weights[1:]


def test_a_fit_never_makes_its_own_rows_worse(probe: Probe) -> None:
    rows = torch.arange(4)
    path = linear_path(probe, range(6))
    after = fit(probe, path, rows, rounds=1)
    assert float(distance(probe, after)[:4].mean()) <= float(distance(probe, path)[:4].mean())
