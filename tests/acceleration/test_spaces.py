"""Forecasts in the space of flows, of data, of noise and of features, by hand on the toy (output 6 + 5 k)."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from tests.acceleration.support import Curve, Line, Moves, curve_sample, fulls
from workers.acceleration.softcap import SoftCapConfig
from workers.acceleration.softcap_paper import SoftCapPaperConfig
from workers.acceleration.spaces import Space
from workers.acceleration.static import StaticConfig
from workers.acceleration.taylorseer import TaylorSeerConfig
from workers.core import Schedule
from workers.sampling import make_solver

METHODS = ("static", "softcap", "taylorseer", "softcap-paper")


def run(
    method: str, space: Space, *, order: int | None = None, fulls_paid: float | None = None
) -> list[Line]:
    """Full at sigma 1 and .9, forecast at .6 and on; latents start at 1."""
    network = Curve(float, 4)
    parameters: dict[str, float] = {"space": float(space)}
    if order is not None:
        parameters["order"] = order
    if method == "taylorseer":
        parameters |= {"warmup": 2, "interval": 9}
    if method == "softcap-paper":
        parameters |= {"tau_0": 1.0, "tau_min": 2.0, "tau_max": 2.0, "warmup": 2}
    sample = curve_sample(network, method, parameters, nodes=(0, 1), fulls=fulls_paid)
    schedule = Schedule((1.0, 0.9, 0.6, 0.2, 0.0), sample.solver.schedule.timesteps)
    sample.solver = make_solver("euler").start(schedule, torch.float32)
    return Moves(network).finish(sample)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        # Outputs 6 and 11: -50 a unit of sigma.
        (Space.FLOW, 26),
        # x 1 and .4, so x0 1 - 6 = -5 and .4 - 9.9 = -9.5: at .6 it is -23; x is -2.9 there: 20.1 / .6.
        (Space.X0, 33.5),
        # eps 1 and .4 + 1.1 = 1.5: at .6 it is 3; (3 + 2.9) / .4.
        (Space.EPS, 14.75),
        # The toy's head adds nothing, so its features behave as its outputs.
        (Space.FEATURES, 26),
    ],
)
def test_the_first_forecast_by_hand(space: Space, expected: float) -> None:
    lines = run("static", space)
    assert fulls(lines) == [0, 1]
    assert [line.output for line in lines[:3]] == [6, 11, pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", [Space.FLOW, Space.X0, Space.EPS])
def test_methods_forecast_in_the_space_they_are_told(method: str, space: Space) -> None:
    """Two that count in sigma agree; the two that count evaluations see even gaps: 16 and x0 -14, eps 2."""
    if method in ("static", "softcap"):
        expected = {Space.FLOW: 26, Space.X0: 33.5, Space.EPS: 14.75}[space]
    else:
        expected = {Space.FLOW: 16, Space.X0: (-2.9 + 14) / 0.6, Space.EPS: (2 + 2.9) / 0.4}[space]
    order = None if method == "softcap" else 1
    assert run(method, space, order=order)[2].output == pytest.approx(expected, rel=1e-5)


def test_order_0_is_one_line_in_every_space() -> None:
    """Repeating 11 from sigma .9 goes straight on; so do x0 and eps that stand still."""
    for space in Space:
        outputs = [line.output for line in run("static", space, order=0)]
        assert outputs == pytest.approx([6, 11, 11, 11], rel=1e-5)


def test_features_cost_the_embedding_and_the_head() -> None:
    """1 and 2 beside four blocks of 10. A second 43 would leave 3 of 89 for two forecasts: it is refused."""
    assert [line.flop for line in run("static", Space.FEATURES)] == [43, 43, 3, 3]
    lines = run("static", Space.FEATURES, fulls_paid=2 + 3 / 43)
    assert [line.flop for line in lines] == [43, 3, 3, 3]
    assert [line.reason for line in lines[:3]] == ["schedule", "guard_denied", "schedule"]


def test_what_runs_nothing_has_no_features_to_forecast() -> None:
    for config in (SoftCapConfig, SoftCapPaperConfig, TaylorSeerConfig):
        with pytest.raises(ValidationError, match="space is 0, 1 or 2"):
            config.model_validate({"space": 3.0})
    with pytest.raises(ValidationError, match="space"):
        StaticConfig.model_validate({"space": 4.0})
