"""Plans of discrete models: a budget buys evaluations, and the sampler that strays least there."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.calibration import CalibrationPoint
from protocol.cost import price
from protocol.errors import BudgetTooSmall, InvalidRequest
from protocol.methods import SAMPLERS
from protocol.plan import Plan, make_plan, min_budget
from tests.protocol.entries import flux_entry, request, text_entry

ENTRY = text_entry()
STEP = price(ENTRY, request(ENTRY)).per_step_flop[0]


def plan(budget: Any, entry: Any = ENTRY, **given: Any) -> Plan:
    return make_plan(request(entry, compute_budget=budget, **given), entry)


def point(method: str, budget: float, distance: float, **parameters: float) -> CalibrationPoint:
    return CalibrationPoint(
        method=method,
        steps=16,
        budget=budget,
        spent=budget,
        distance=distance,
        tail=distance,
        parameters=parameters,
    )


@pytest.mark.parametrize(("budget", "evaluations"), [(1.0, 16), (0.5, 8), (0.35, 5), (1 / 16, 1)])
def test_a_budget_buys_evaluations_of_the_model_s_own_sampler(budget: float, evaluations: int) -> None:
    """.35 of 16 are 5.6."""
    made = plan(budget)
    assert (made.solver, made.evaluations) == ("blocks", evaluations)
    assert made.granted_flop == evaluations * STEP
    assert made.methods == (() if evaluations == 16 else ("steps",))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("budget", [1.0, 0.5])
def test_a_sampler_that_is_named_runs(sampler: str, budget: float) -> None:
    """At budget 1 the model's own needs no method; any other does."""
    made = plan({"fraction": budget, "methods": [sampler]})
    own = sampler == "blocks" and budget == 1.0
    assert (made.solver, made.methods) == (sampler, () if own else (sampler,))
    assert made.evaluations == 16 * budget


def test_no_methods_leave_the_unabridged_run_alone() -> None:
    assert plan({"methods": []}).evaluations == 16
    with pytest.raises(BudgetTooSmall):
        plan({"fraction": 0.5, "methods": []})


def test_what_was_measured_to_stray_least_is_taken() -> None:
    points = (
        point("euler", 0.5, 0.3),
        point("gadd-paper", 0.5, 0.2),
        point("stale", 0.25, 0.1, threshold=0.2),
    )
    entry = text_entry(calibration="c", points=points)
    made = plan(0.5, entry)
    assert (made.solver, made.evaluations, made.parameters) == ("stale", 4, {"threshold": 0.2})
    assert made.expected_distance == 0.1
    made = plan({"fraction": 0.5, "methods": ["euler", "gadd-paper"]}, entry)
    assert (made.solver, made.evaluations, made.calibration) == ("gadd-paper", 8, "c")
    assert plan(0.5, entry, num_inference_steps=20).calibration is None


def test_a_shorter_text_has_a_cheaper_evaluation() -> None:
    short = plan(1.0, length=16)
    assert short.full_flop < 16 * STEP
    assert short.granted == 1.0


def test_least_budget() -> None:
    """One of 16."""
    assert min_budget(ENTRY) == 0.0625


def test_a_picture_s_model_offers_no_sampler() -> None:
    with pytest.raises(InvalidRequest):
        make_plan(request(flux_entry(), compute_budget={"methods": ["gadd-paper"]}), flux_entry())
