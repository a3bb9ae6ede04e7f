"""From names to caches; what cannot run is refused when the stack is built, before any turn."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import methods
from protocol.calibration import Calibration
from protocol.plan import Plan
from tests.acceleration.support import Curve
from workers.acceleration import Methods, registry
from workers.acceleration.anchored import AnchoredCache
from workers.core import Stack

LAYOUT = Curve(float, 4).layout
EMPTY = Calibration(
    digest="0" * 64, created=0, model_created=0, num_inference_steps=4, settings={}, points=(), tables={}
)


def plan(method: str, parameters: dict[str, float] | None = None, **given: Any) -> Plan:
    fields = {"num_inference_steps": 4, "solver": "euler", "granted_flop": 1, "full_flop": 1, **given}
    return Plan(methods=(method,), parameters=parameters or {}, **fields)


def test_the_registry_has_the_methods_a_budget_may_name() -> None:
    assert tuple(registry.CACHES) == methods.CACHES
    assert set(methods.PLACED) <= set(methods.CACHES)
    assert not set(methods.CACHES) & set(methods.FEWER_STEPS)


@pytest.mark.parametrize("calibration", [None, EMPTY], ids=["uncalibrated", "calibrated"])
@pytest.mark.parametrize("method", methods.CACHES)
def test_every_cache_can_be_built_and_is_made_once(method: str, calibration: Calibration | None) -> None:
    built = Methods(LAYOUT, calibration)
    cache = built.stack(plan(method)).cache
    assert isinstance(cache, AnchoredCache)
    assert built.stack(plan(method)).cache is cache


@pytest.mark.parametrize("method", methods.FEWER_STEPS)
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_fewer_steps_need_no_stack(method: str, solver: str) -> None:
    assert Methods(LAYOUT).stack(plan(method, solver=solver)) == Stack()


@pytest.mark.parametrize("method", methods.CACHES)
def test_an_unknown_parameter_is_refused_by_name(method: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)^{method}: .*treshold"):
        Methods(LAYOUT).stack(plan(method, {"treshold": 0.5}))


def test_an_impossible_value_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"(?s)^teacache: .*threshold"):
        Methods(LAYOUT).stack(plan("teacache", {"threshold": -1}))


@pytest.mark.parametrize("method", methods.CACHES)
def test_two_evaluations_a_step_go_with_no_cache(method: str) -> None:
    with pytest.raises(ValueError, match=f"{method} does not go with heun"):
        Methods(LAYOUT).stack(plan(method, solver="heun"))
