"""The planner's choice among methods, on calibrations of a few points written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.calibration import CalibrationPoint
from protocol.catalog import CatalogEntry
from protocol.cost import price
from protocol.drafts import even_nodes
from protocol.errors import BudgetTooSmall
from protocol.methods import CACHES, FEWER_STEPS, PLACED
from protocol.plan import Plan, make_plan
from tests.protocol.entries import flux_entry, request

ALL = (*FEWER_STEPS, *CACHES)
STEPS = 28


def point(method: str, budget: float, distance: float, **given: Any) -> CalibrationPoint:
    fields = {"steps": STEPS, "spent": budget, "tail": 2 * distance, **given}
    return CalibrationPoint(method=method, budget=budget, distance=distance, **fields)


def calibrated(*points: CalibrationPoint, **changes: Any) -> CatalogEntry:
    return flux_entry(**{"methods": ALL, "calibration": "c1", "points": points, **changes})


def plan(entry: CatalogEntry, budget: Any, **given: Any) -> Plan:
    return make_plan(request(entry, compute_budget=budget, **given), entry)


TEACACHE = (
    point("teacache", 0.25, 0.4, parameters={"threshold": 0.8}, dial="threshold"),
    point("teacache", 0.5, 0.2, parameters={"threshold": 0.3}, dial="threshold"),
    point("teacache", 0.75, 0.1, parameters={"threshold": 0.1}, dial="threshold"),
)
SOFTCAP = (
    point("softcap", 7 / 28, 0.05, parameters={"path_0": 0}, mode="hard"),
    point("softcap", 7 / 28, 0.03, parameters={"path_0": 1, "path_1": 2, "threshold_1": 0.2}, mode="soft"),
    point("softcap", 10 / 28, 0.02, parameters={"path_0": 3}),
)
AB2 = (point("ab2", 0.25, 0.06, nodes=(0, 3, 6, 10, 15, 20, 25)), point("ab2", 3 / 28, 0.3, nodes=(0, 9, 20)))


def test_the_method_that_strays_least() -> None:
    """At half: .2, .02 at the next point below, .06 at the one below."""
    made = plan(calibrated(*TEACACHE, *SOFTCAP, *AB2), 0.5)
    assert made.methods == ("softcap",)
    assert made.parameters == {"path_0": 3}
    assert (made.expected_distance, made.calibration) == (0.02, "c1")
    assert plan(calibrated(*TEACACHE, *AB2), 0.25).methods == ("ab2",)


def test_who_spends_more_than_granted_is_not_compared() -> None:
    """.1 at a mean of .31 is no match for .2 at .25; alone it is taken all the same."""
    greedy = point("magcache", 0.25, 0.1, spent=0.31, parameters={"threshold": 0.2}, dial="threshold")
    fair = point("static", 0.25, 0.2, nodes=(0, 3, 7, 12, 16, 20, 25))
    assert plan(calibrated(greedy, fair), 0.25).methods == ("static",)
    assert plan(calibrated(greedy), 0.25).methods == ("magcache",)


def test_a_threshold_met_in_the_mean_is_not_compared_in_hard_mode() -> None:
    entry = calibrated(*TEACACHE, point("static", 0.5, 0.3, nodes=tuple(range(0, 28, 2))))
    assert plan(entry, 0.5).methods == ("teacache",)
    assert plan(entry, {"fraction": 0.5, "mode": "hard"}).methods == ("static",)
    assert plan(entry, {"fraction": 0.5, "mode": "hard", "methods": ["teacache"]}).methods == ("teacache",)


def test_only_what_was_named() -> None:
    entry = calibrated(*TEACACHE, *SOFTCAP, *AB2)
    for method in ("teacache", "softcap", "ab2"):
        assert plan(entry, {"fraction": 0.5, "methods": [method]}).methods == (method,)
    assert plan(entry, {"fraction": 0.5, "methods": ["teacache", "ab2"]}).methods == ("ab2",)


@pytest.mark.parametrize(
    ("budget", "granted"),
    [(0.36, 10), (10 / 28, 10), (0.35, 7), (0.25, 7), (0.9, 10)],  # .35 pays 9 evaluations
)
def test_the_point_at_or_below_the_budget(budget: float, granted: int) -> None:
    made = plan(calibrated(*SOFTCAP), budget)
    assert made.granted == pytest.approx(granted / 28)
    assert made.num_inference_steps == made.evaluations == 28


def test_a_dial_is_set_between_two_points() -> None:
    """10 of 28 pay .357, 3/7 of the way from .25 to .5: .8 - 3/7 x .5 and .4 - 3/7 x .2."""
    made = plan(calibrated(*TEACACHE), 10 / 28)
    assert made.parameters == {"threshold": pytest.approx(0.8 - 1.5 / 7)}
    assert made.expected_distance == pytest.approx(0.4 - 0.6 / 7)
    assert made.granted == 10 / 28


def test_at_its_own_points_a_dial_stands_as_measured() -> None:
    for measured in TEACACHE:
        made = plan(calibrated(*TEACACHE), measured.budget)
        assert made.parameters == pytest.approx(measured.parameters)
        assert made.expected_distance == pytest.approx(measured.distance)


def test_above_its_last_point_a_dial_stays_there() -> None:
    made = plan(calibrated(*TEACACHE), 0.9)
    assert (made.parameters, made.granted) == ({"threshold": 0.1}, 0.75)


def test_points_without_a_common_dial_are_not_mixed() -> None:
    one = point("speca", 0.25, 0.2, parameters={"threshold": 1.0}, dial="threshold")
    other = point("speca", 0.5, 0.1, parameters={"threshold": 1.0, "max_skip": 2}, dial="max_skip")
    made = plan(calibrated(one, other), 0.4)
    assert (made.parameters, made.granted) == ({"threshold": 1.0}, 0.25)


def test_hard_and_soft_have_points_of_their_own() -> None:
    entry = calibrated(*SOFTCAP)
    soft, hard = (plan(entry, {"fraction": 0.25, "mode": mode}) for mode in ("soft", "hard"))
    assert (soft.parameters["path_0"], soft.expected_distance) == (1, 0.03)
    assert (hard.parameters["path_0"], hard.expected_distance) == (0, 0.05)
    assert plan(entry, {"fraction": 0.4, "mode": "hard"}).parameters == {"path_0": 3}


def test_a_solver_at_its_nodes() -> None:
    made = plan(calibrated(*AB2), 0.3)
    assert (made.methods, made.solver) == (("ab2",), "ab2")
    assert made.nodes == (0, 3, 6, 10, 15, 20, 25)
    assert made.num_inference_steps == made.evaluations == 7
    assert made.fewer_steps
    assert made.granted == 0.25


def test_fewer_steps_keep_the_model_s_solver() -> None:
    made = plan(calibrated(point("steps", 0.25, 0.1, nodes=(0, 2, 5, 9, 13, 18, 23))), 0.25)
    assert (made.methods, made.solver, made.num_inference_steps) == (("steps",), "euler", 7)


@pytest.mark.parametrize("steps", [20, 27, 29, 50])
def test_runs_of_other_lengths_are_not_calibrated(steps: int) -> None:
    made = plan(calibrated(*TEACACHE, *SOFTCAP), 0.5, num_inference_steps=steps)
    assert (made.methods, made.calibration, made.expected_distance) == (("steps",), None, None)
    assert made.num_inference_steps == steps // 2


def test_without_calibration_a_budget_buys_fewer_steps() -> None:
    made = plan(flux_entry(methods=ALL), 0.5)
    assert (made.methods, made.num_inference_steps, made.nodes) == (("steps",), 14, ())
    assert (made.calibration, made.expected_distance, made.parameters) == (None, None, {})
    assert not made.fewer_steps


@pytest.mark.parametrize("method", ["ab2", "dpmpp-2m", "unipc"])
def test_without_calibration_a_named_solver_runs_fewer_steps(method: str) -> None:
    made = plan(flux_entry(methods=ALL), {"fraction": 0.5, "methods": [method]})
    assert (made.methods, made.solver, made.num_inference_steps) == ((method,), method, 14)


@pytest.mark.parametrize("method", CACHES)
def test_without_calibration_a_named_cache_runs_under_its_defaults(method: str) -> None:
    made = plan(flux_entry(methods=ALL), {"fraction": 0.25, "methods": [method]})
    assert (made.methods, made.num_inference_steps, made.parameters) == ((method,), 28, {})
    assert (made.granted, made.calibration) == (0.25, None)
    assert made.nodes == (even_nodes(7, 28) if method in PLACED else ())


def test_below_its_least_point_a_method_is_not_calibrated() -> None:
    """AB2 reaches 3 of 28; two evaluations are left to the default."""
    assert plan(calibrated(*AB2), 3 / 28).methods == ("ab2",)
    made = plan(calibrated(*AB2), 2 / 28)
    assert (made.methods, made.num_inference_steps, made.calibration) == (("steps",), 2, None)


@pytest.mark.parametrize(
    ("count", "steps", "nodes"),
    [
        (1, 28, (0,)),
        (4, 4, (0, 1, 2, 3)),
        (2, 11, (0, 6)),  # 10 (1/1.5)^1.1 = 6.40
        (3, 11, (0, 4, 8)),  # 10 (.4)^1.1 = 3.65, 10 (.8)^1.1 = 7.82
        (3, 4, (0, 1, 2)),  # 3 (.4)^1.1 = 1.10, 3 (.8)^1.1 = 2.35
    ],
)
def test_even_nodes_by_hand(count: int, steps: int, nodes: tuple[int, ...]) -> None:
    assert even_nodes(count, steps) == nodes


def test_even_nodes_rise_from_zero_and_are_as_many_as_asked_for() -> None:
    for steps in range(1, 40):
        for count in range(1, steps + 1):
            nodes = even_nodes(count, steps)
            assert nodes[0] == 0
            assert len(set(nodes)) == count
            assert list(nodes) == sorted(nodes)
            assert nodes[-1] < steps


@pytest.mark.parametrize("steps", [1, 4, 28, 50])
@pytest.mark.parametrize("methods", [None, ["softcap"], ["teacache"], ["unipc"], ["ab2", "teacache"]])
def test_never_more_than_was_asked_for(steps: int, methods: list[str] | None) -> None:
    """Percent by percent: granted is in whole evaluations, at least one, and at most the budget."""
    entry = calibrated(*TEACACHE, *SOFTCAP, *AB2)
    for percent in range(1, 101):
        asked = {"fraction": percent / 100, "methods": methods}
        if percent * steps < 100:
            with pytest.raises(BudgetTooSmall) as caught:
                plan(entry, asked, num_inference_steps=steps)
            least = caught.value.details["min_fraction"]
            assert 1 / steps <= least < 1 / steps + 1e-4
            continue
        made = plan(entry, asked, num_inference_steps=steps)
        evaluation = made.full_flop // steps
        assert made.granted_flop % evaluation == 0
        assert evaluation <= made.granted_flop <= percent / 100 * made.full_flop * (1 + 1e-9)
        assert made.granted_flop <= made.cap_flop <= made.full_flop


def test_the_least_that_an_error_names_is_enough() -> None:
    entry = calibrated(*SOFTCAP)
    with pytest.raises(BudgetTooSmall) as caught:
        plan(entry, {"fraction": 0.01, "methods": ["softcap"]})
    told = caught.value.details
    for asked in ({"fraction": told["min_fraction"]}, {"tflops": told["min_tflops"]}):
        made = plan(entry, {**asked, "methods": ["softcap"]})
        assert (made.nodes, made.granted) == ((0,), 1 / 28)


@pytest.mark.parametrize("n", [1, 3])
def test_ceilings_in_tflops_choose_like_shares(n: int) -> None:
    entry = calibrated(*TEACACHE, *SOFTCAP)
    whole = price(entry, request(entry, n=n)).full_tflops
    for share in (0.25, 0.4, 0.5, 0.8, 1.0, 3.0):
        made = plan(entry, {"tflops": share * whole}, n=n)
        assert made == plan(entry, {"fraction": min(1.0, share)}, n=n)


def test_a_grant_lowered_to_its_floor_is_planned_anew() -> None:
    """Asked .5 with a floor of .25; under load the grant is .3, and the point below it serves."""
    entry = calibrated(*SOFTCAP)
    asked = request(entry, compute_budget={"fraction": 0.5, "floor": 0.25})
    assert make_plan(asked, entry).granted == 10 / 28
    assert make_plan(asked, entry, share=0.3).granted == 0.25


def test_the_unabridged_run_needs_no_method() -> None:
    made = plan(calibrated(*TEACACHE, *SOFTCAP), 1.0)
    assert (made.methods, made.num_inference_steps, made.granted) == ((), 28, 1.0)
    assert (made.parameters, made.nodes, made.expected_distance) == ({}, (), None)
