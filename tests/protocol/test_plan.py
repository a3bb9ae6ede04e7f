from __future__ import annotations

from typing import Any

import pytest

from protocol.cost import price
from protocol.errors import BudgetTooSmall, InvalidRequest
from protocol.plan import Plan, make_plan
from tests.protocol.entries import flux_entry, request

ENTRY = flux_entry()
STEP = price(ENTRY, request(ENTRY)).per_step_flop[0]


def plan(budget: Any, *, share: float | None = None, entry: Any = ENTRY, **given: Any) -> Plan:
    return make_plan(request(entry, compute_budget=budget, **given), entry, share=share)


@pytest.mark.parametrize(
    ("steps", "budget", "kept"),
    [
        (28, None, 28),
        (28, 1.0, 28),
        (28, 0.999, 27),  # 27.97
        (28, 0.5, 14),
        (28, 0.35, 9),  # 9.8
        (28, 0.25, 7),
        (28, 1 / 28, 1),
        (4, 0.35, 1),  # 1.4: the contract's example, granted .25
        (4, 0.75, 3),
        (20, 0.35, 7),  # 0.35 * 20 is 7 - 1e-15 in floats
        (100, 0.29, 29),  # 0.29 * 100 is 28.999999999999996
        (1, 1.0, 1),
    ],
)
def test_steps_kept(steps: int, budget: float | None, kept: int) -> None:
    made = plan(budget, num_inference_steps=steps)

    assert made.num_inference_steps == made.evaluations == kept
    assert made.granted_flop == kept * STEP
    assert made.full_flop == steps * STEP
    assert made.granted == kept / steps
    assert made.methods == (() if kept == steps else ("steps",))
    assert made.solver == "euler"


@pytest.mark.parametrize(("steps", "budget", "least"), [(28, 0.03, 0.0358), (4, 0.24, 0.25), (1, 0.99, 1.0)])
def test_below_one_evaluation(steps: int, budget: float, least: float) -> None:
    """28 steps: 1/28 = .03571, rounded up so that asking for what the error says is enough."""
    with pytest.raises(BudgetTooSmall) as caught:
        plan(budget, num_inference_steps=steps)

    assert caught.value.code == "budget_too_small"
    assert caught.value.param == "compute_budget"
    assert caught.value.details["min_fraction"] == least
    assert plan(caught.value.details["min_fraction"], num_inference_steps=steps).evaluations == 1
    assert plan({"tflops": caught.value.details["min_tflops"]}, num_inference_steps=steps).evaluations == 1


def test_without_methods_nothing_can_be_saved() -> None:
    entry = flux_entry(methods=("steps", "softcap"))

    with pytest.raises(BudgetTooSmall) as caught:
        plan({"fraction": 0.9, "methods": []}, entry=entry)

    assert caught.value.details["min_fraction"] == 1.0
    assert plan({"fraction": 1.0, "methods": []}, entry=entry).num_inference_steps == 28


def test_a_model_that_may_not_drop_steps() -> None:
    entry = flux_entry(methods=())

    with pytest.raises(BudgetTooSmall):
        plan(0.5, entry=entry)
    assert plan(None, entry=entry).methods == ()


@pytest.mark.parametrize("n", [1, 4])
def test_a_ceiling_in_tflops_is_for_the_whole_job(n: int) -> None:
    whole = price(ENTRY, request(ENTRY, n=n)).full_tflops

    assert plan({"tflops": whole}, n=n).num_inference_steps == 28
    assert plan({"tflops": whole / 2}, n=n).num_inference_steps == 14
    assert plan({"tflops": 100 * whole}, n=n).num_inference_steps == 28
    assert plan({"tflops": whole / 28}, n=n).num_inference_steps == 1


def test_never_above_a_ceiling_in_tflops() -> None:
    """Half of full less a millionth is 13 steps: rounding full to whole MFLOP first would have made it 14."""
    whole = price(ENTRY, request(ENTRY)).full_tflops

    made = plan({"tflops": whole / 2 * (1 - 1e-6)})

    assert made.num_inference_steps == 13
    assert made.granted_flop / 1e12 <= whole / 2


def test_floor_above_a_ceiling_in_tflops() -> None:
    """A share against TFLOPs: only the price tells which is higher."""
    whole = price(ENTRY, request(ENTRY)).full_tflops

    assert plan({"tflops": whole / 2, "floor": 0.49}).evaluations == 14
    with pytest.raises(InvalidRequest) as caught:
        plan({"tflops": whole / 2, "floor": 0.51})
    assert caught.value.param == "compute_budget.floor"


def test_true_guidance_costs_twice_and_keeps_the_share() -> None:
    one, two = plan(0.5), plan(0.5, negative_prompt="fog")

    assert two.granted_flop == 2 * one.granted_flop
    assert two.granted == one.granted == 0.5


def test_a_lowered_grant_replaces_the_ceiling() -> None:
    assert plan(0.5, share=0.25).evaluations == 7
    assert plan(None, share=0.5).evaluations == 14
    assert plan(0.5, share=1.0).evaluations == 28


def test_heun_is_planned_in_evaluations() -> None:
    """28 Heun steps are 55 evaluations; half of them, 27, are 14 steps; 4 of 7 hold 2 steps (3 of 7)."""
    entry = flux_entry(solver="heun")

    assert (plan(None, entry=entry).num_inference_steps, plan(None, entry=entry).evaluations) == (28, 55)
    assert (plan(0.5, entry=entry).num_inference_steps, plan(0.5, entry=entry).evaluations) == (14, 27)
    short = plan(0.6, entry=entry, num_inference_steps=4)
    assert (short.num_inference_steps, short.granted_flop) == (2, 3 * STEP)


def test_every_budget_is_kept() -> None:
    for steps in (1, 2, 3, 7, 28, 50, 99):
        for percent in range(1, 101):
            try:
                made = plan(percent / 100, num_inference_steps=steps)
            except BudgetTooSmall:
                assert percent * steps < 100
            else:
                assert made.evaluations == percent * steps // 100


def test_calibration_is_named() -> None:
    assert plan(None, entry=flux_entry(calibration="c1")).calibration == "c1"
    assert plan(None).calibration is None


def test_round_trip() -> None:
    assert Plan.model_validate_json(plan(0.5).model_dump_json()) == plan(0.5)
