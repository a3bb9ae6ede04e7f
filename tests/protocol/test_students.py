"""When the planner takes the student of few steps: one run of four steps, at one cost."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.calibration import CalibrationPoint
from protocol.catalog import CatalogEntry, FewSteps
from protocol.cost import own_cost, price
from protocol.errors import BudgetTooSmall
from protocol.methods import CACHES, FEW_STEP, FEWER_STEPS
from protocol.plan import Plan, make_plan
from protocol.shapes import PareShape
from tests.protocol.entries import (
    PARE,
    TINY_FLUX,
    WAN_1_3B,
    WAN_TINY,
    flux_entry,
    request,
    student_entry,
    wan_entry,
)

METHODS = (*FEWER_STEPS, *CACHES, FEW_STEP)
FEW = FewSteps(num_inference_steps=4, solver="euler", shapes=TINY_FLUX)
ALONE = {"methods": [FEW_STEP]}


def entry(*points: CalibrationPoint, **changes: Any) -> CatalogEntry:
    calibration = "c1" if points else None
    given = {"methods": METHODS, "few_steps": FEW, "points": points, "calibration": calibration}
    return flux_entry(**{**given, **changes})


def plan(model: CatalogEntry, budget: Any, *, share: float | None = None, **given: Any) -> Plan:
    return make_plan(request(model, compute_budget=budget, **given), model, share=share)


def point(method: str, evaluations: int, distance: float, **given: Any) -> CalibrationPoint:
    share = evaluations / 28
    fields = {"budget": share, "spent": share, "steps": 28, "tail": distance, **given}
    return CalibrationPoint(method=method, distance=distance, **fields)


SOFTCAP = point("softcap", 7, 0.05, nodes=(0, 3, 7, 12, 16, 20, 25))
FEW_STEPS = point(FEW_STEP, 4, 0.02)


def test_its_run_is_always_the_same() -> None:
    """Four steps of 28 are 1/7 of full compute, whatever more is offered."""
    for fraction in (0.15, 0.5, 0.99):
        made = plan(entry(), {"fraction": fraction, **ALONE})
        assert (made.methods, made.variant) == ((FEW_STEP,), FEW_STEP)
        assert (made.num_inference_steps, made.solver, made.evaluations) == (4, "euler", 4)
        assert made.granted == pytest.approx(4 / 28)
        assert (made.nodes, made.parameters, made.calibration) == ((), {}, None)


@pytest.mark.parametrize(
    ("fraction", "method"),
    [(0.1, "steps"), (0.14, "steps"), (0.143, FEW_STEP), (0.178, FEW_STEP), (0.179, "steps"), (0.5, "steps")],
)
def test_without_calibration_it_is_for_budgets_too_small_for_a_cache(fraction: float, method: str) -> None:
    """Four evaluations are 1/7 = .1429, five are .1786."""
    assert plan(entry(), fraction).methods == (method,)


def test_it_is_only_taken_where_it_is_named() -> None:
    assert plan(entry(), {"fraction": 0.15, "methods": ["softcap"]}).methods == ("softcap",)
    assert plan(entry(), {"fraction": 0.15, "methods": ["softcap", FEW_STEP]}).methods == (FEW_STEP,)
    assert plan(entry(), {"fraction": 0.5, "methods": ["softcap", FEW_STEP]}).methods == ("softcap",)


def test_the_calibration_decides() -> None:
    """At .25 SoftCap strays .05 and the student, at a cost of 1/7, .02; or .08."""
    made = plan(entry(SOFTCAP, FEW_STEPS), 0.25)
    assert (made.methods, made.granted) == ((FEW_STEP,), pytest.approx(4 / 28))
    assert (made.expected_distance, made.calibration) == (0.02, "c1")
    assert plan(entry(SOFTCAP, point(FEW_STEP, 4, 0.08)), 0.25).methods == ("softcap",)


def test_what_was_measured_goes_before_what_was_not() -> None:
    """At .15 nothing else is calibrated; at .25 the student is not."""
    assert plan(entry(SOFTCAP, point(FEW_STEP, 4, 0.9)), 0.15).methods == (FEW_STEP,)
    assert plan(entry(SOFTCAP), 0.25).methods == ("softcap",)
    assert plan(entry(FEW_STEPS), 0.5).methods == (FEW_STEP,)


@pytest.mark.parametrize("steps", [20, 50])
def test_runs_of_other_lengths_are_not_calibrated(steps: int) -> None:
    made = plan(entry(FEW_STEPS), {"fraction": 0.5, **ALONE}, num_inference_steps=steps)
    assert (made.expected_distance, made.calibration) == (None, None)
    assert made.granted == pytest.approx(4 / steps)
    assert plan(entry(FEW_STEPS), 0.5, num_inference_steps=steps).methods == ("steps",)


def test_a_mode_that_was_not_measured_is_not_calibrated() -> None:
    model = entry(point(FEW_STEP, 4, 0.02, mode="soft"))
    assert plan(model, {"fraction": 0.5}).methods == (FEW_STEP,)
    assert plan(model, {"fraction": 0.5, "mode": "hard"}).methods == ("steps",)


def test_what_it_costs_at_least_is_told() -> None:
    """1/7 rounded up is .1429, and asking for it succeeds."""
    with pytest.raises(BudgetTooSmall) as caught:
        plan(entry(), {"fraction": 0.1, **ALONE})
    assert caught.value.details["min_fraction"] == 0.1429
    assert plan(entry(), {"fraction": 0.1429, **ALONE}).methods == (FEW_STEP,)
    tflops = caught.value.details["min_tflops"]
    assert plan(entry(), {"tflops": tflops, **ALONE}).methods == (FEW_STEP,)


@pytest.mark.parametrize("steps", [3, 4])
def test_it_saves_nothing_where_few_steps_were_asked_for(steps: int) -> None:
    with pytest.raises(BudgetTooSmall) as caught:
        plan(entry(), {"fraction": 0.9, **ALONE}, num_inference_steps=steps)
    assert caught.value.details["min_fraction"] == 1.0
    assert plan(entry(), 0.9, num_inference_steps=steps).methods == ("steps",)


def test_requests_of_two_lanes_have_no_student() -> None:
    guided = {"negative_prompt": "fog", "guidance_scale": 3.0}
    assert plan(entry(), 0.15, **guided).methods == ("steps",)
    with pytest.raises(BudgetTooSmall) as caught:
        plan(entry(), {"fraction": 0.5, **ALONE}, **guided)
    assert caught.value.details["min_fraction"] == 1.0


def test_the_unabridged_run_is_never_the_student_s() -> None:
    assert plan(entry(SOFTCAP, FEW_STEPS), 1.0).methods == ()
    assert plan(entry(), ALONE).methods == ()


def test_a_lowered_grant_may_come_to_it() -> None:
    assert plan(entry(), 0.5, share=0.15).methods == (FEW_STEP,)


def test_a_pruned_student_is_charged_against_the_unpruned_model() -> None:
    """Its four evaluations cost less than three whole ones, so three pay for it."""
    pare = PareShape(self_heads=8, cross_heads=8, ffn_dim=4480, least_blocks=12.0, most_blocks=25.5)
    shapes = WAN_1_3B.model_copy(update={"pare": pare})
    few = FewSteps(num_inference_steps=4, solver="euler", shapes=shapes)
    model = wan_entry(methods=METHODS, few_steps=few)
    made = plan(model, 3 / 50)
    assert made.methods == (FEW_STEP,)
    row = own_cost(shapes, width=832, height=480, num_frames=81)
    assert made.granted_flop == 4 * row.evaluation
    assert made.full_flop == price(model, request(model)).full_flop
    assert 2 / 50 < made.granted < 3 / 50


def test_an_entry_without_a_student_is_written_as_before() -> None:
    """So that gateways that do not know of students read it."""
    assert "few_steps" not in flux_entry().model_dump_json()
    assert CatalogEntry.model_validate_json(entry().model_dump_json()) == entry()


PRUNED = FewSteps(
    num_inference_steps=4, solver="euler", shapes=WAN_TINY.model_copy(update={"pare": PARE}), routed=True
)
ROUTED = ("pare", FEW_STEP)


def pare_entry(*points: CalibrationPoint) -> CatalogEntry:
    methods = (*FEWER_STEPS, *CACHES, "pare", FEW_STEP)
    return student_entry(methods=methods, few_steps=PRUNED, points=points, calibration="c1")


def pare_plan(budget: Any, *points: CalibrationPoint) -> Plan:
    return plan(pare_entry(*points), budget, guidance_scale=1.0)


def test_a_pruned_student_runs_all_its_blocks_where_they_are_paid() -> None:
    """Its four evaluations cost less than three whole ones of 28."""
    row = own_cost(PRUNED.shapes, width=32, height=32, num_frames=9)
    share = 4 * row.evaluation / pare_plan(1.0).full_flop
    made = pare_plan({"fraction": share + 1e-6, "methods": ROUTED})
    assert (made.methods, made.depths, made.granted_flop) == ((FEW_STEP,), (), 4 * row.evaluation)
    assert 2 / 28 < share < 3 / 28


def test_below_that_its_router_leaves_blocks_out() -> None:
    """A depth an evaluation, the noisier the deeper, no more than is paid; without `pare` it is refused."""
    row = own_cost(PRUNED.shapes, width=32, height=32, num_frames=9)
    full = pare_plan(1.0).full_flop
    fraction = 3 * row.evaluation / full
    made = pare_plan({"fraction": fraction, "methods": ROUTED})
    assert (made.methods, made.variant, made.num_inference_steps) == (ROUTED, FEW_STEP, 4)
    assert len(made.depths) == made.evaluations == 4
    assert list(made.depths) == sorted(made.depths, reverse=True)
    assert made.granted_flop == sum(map(row.of_depth, made.depths)) <= 3 * row.evaluation
    with pytest.raises(BudgetTooSmall) as caught:
        pare_plan({"fraction": fraction, **ALONE})
    assert caught.value.details["min_fraction"] == pytest.approx(4 * row.evaluation / full, abs=1e-4)


def test_a_stack_measured_as_one_is_taken_at_its_depths() -> None:
    """Of both measured the one that strays less, if it is paid; and only where all its parts are allowed."""
    whole = point(FEW_STEP, 3, 0.04)
    stack = point("pare+few-step", 2, 0.03, depths=(8, 7, 6, 5))
    made = pare_plan({"fraction": 0.15, "methods": ROUTED}, whole, stack)
    assert (made.methods, made.depths) == (ROUTED, (8, 7, 6, 5))
    assert (made.expected_distance, made.calibration) == (0.03, "c1")
    assert pare_plan({"fraction": 0.15, **ALONE}, whole, stack).methods == (FEW_STEP,)
