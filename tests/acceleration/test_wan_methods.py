"""Every method runs on clips as it does on pictures, guided and under UniPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from protocol.methods import CACHES, FEWER_STEPS
from protocol.plan import Plan
from protocol.receipts import Action
from tests.acceleration.support import plan_for, run, run_one
from tests.engine.clips import clip, same

CHEAP: dict[str, dict[str, float]] = {
    "taylorseer": {"interval": 3},
    "fora": {"interval": 3},
    "static": {"num_full": 4, "order": 2},
    "teacache": {"threshold": 0.6},
    "first-block-cache": {"threshold": 0.5},
    "speca": {"threshold": 0.5},
}
"""Settings under which some evaluations of random weights are full and some are not; else the defaults."""


def body(**given: Any) -> dict[str, Any]:
    return clip(**{"num_inference_steps": 8, **given})


def cheap_plan(model: Any, what: dict[str, Any], method: str) -> Plan:
    """As the planner's default at half the budget: full at even nodes where the method asks for nodes."""
    nodes = (0, 2, 4, 6) if method in ("softcap", "static") else ()
    granted = 0.5 if method in ("softcap", "softcap-paper", "fixed-threshold") else 2.0
    plan = plan_for(model, what, method, CHEAP.get(method), granted=granted, mode="hard", nodes=nodes)
    return plan.model_copy(update={"solver": "unipc"})


@pytest.mark.parametrize("method", CACHES)
def test_a_cache_saves_and_is_the_same_in_company(load_wan: Callable[..., Any], method: str) -> None:
    """One lane and two, between them a neighbour at full compute and another length."""
    model = load_wan()
    whats = [body(), body(seed=2, prompt="the sun", guidance_scale=1.0)]
    jobs = [(what, cheap_plan(model, what, method)) for what in whats]
    alone = [run_one(model, *job) for job in jobs]
    first, _, last = run(model, [jobs[0], (body(seed=1, num_inference_steps=5), None), jobs[1]])
    assert same(first, alone[0])
    assert same(last, alone[1])
    for result in alone:
        lines = result.samples[0].receipt.steps
        assert lines[0].action is Action.FULL
        assert any(line.action is not Action.FULL for line in lines)
        assert result.receipt.spent < 1.0
        assert bool(torch.isfinite(result.samples[0].latents).all())


@pytest.mark.parametrize("method", [*FEWER_STEPS, *CACHES])
def test_the_planner_keeps_a_hard_budget_with_every_method(load_wan: Callable[..., Any], method: str) -> None:
    """Without calibration, by the method's defaults."""
    budget = {"fraction": 0.5, "mode": "hard", "methods": [method]}
    result = run_one(load_wan(), {**body(), "compute_budget": budget})
    assert result.samples[0].receipt.plan.methods == (method,)
    assert 0 < result.receipt.spent <= result.receipt.granted <= 0.5
