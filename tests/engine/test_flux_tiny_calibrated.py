"""The calibration that ships with flux-tiny: made for these weights, kept by every run, worth its compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from protocol.receipts import Action
from tests.engine.requests import request
from workers.engine import Engine, Result
from workers.models import load

FOLDER = Path(__file__).resolve().parents[2] / "checkpoints" / "flux-tiny"
GIVEN: dict[str, Any] = {"num_inference_steps": 28, "seed": 11}


@pytest.fixture(scope="module")
def model() -> Any:
    return load(FOLDER, dtype="float32")


@pytest.fixture(scope="module")
def unabridged(model: Any) -> Result:
    return Engine(model).run([request("flux-tiny", **GIVEN)])[0]


def distance(result: Result, reference: Result) -> float:
    ours, theirs = result.samples[0].latents, reference.samples[0].latents
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("budget", [0.5, 0.25])
def test_softcap_ends_closer_than_fewer_steps(model: Any, unabridged: Result, budget: float) -> None:
    """The planner chooses it by itself; at equal compute plain Euler strays at least twice as far."""
    bodies = [request("flux-tiny", budget=budget, **GIVEN) for _ in range(2)]
    bodies[1]["compute_budget"] = {"fraction": budget, "methods": ["steps"]}
    ours, plain = Engine(model).run(bodies)
    assert ours.receipt.samples[0].plan.methods == ("softcap",)
    assert ours.receipt.samples[0].plan.calibration == model.calibration.id
    assert ours.receipt.spent <= ours.receipt.granted + 0.1 + 1e-9
    assert distance(ours, unabridged) < 0.5 * distance(plain, unabridged)


def test_hard_mode_spends_what_was_granted_and_no_more(model: Any) -> None:
    body = {**request("flux-tiny", **GIVEN), "compute_budget": {"fraction": 0.3, "mode": "hard"}}
    (result,) = Engine(model).run([body])
    full = [line for line in result.receipt.samples[0].steps if line.action is Action.FULL]
    assert len(full) == 8
    assert result.receipt.spent == pytest.approx(8 / 28)


def test_budgets_share_a_batch_and_change_no_bit(model: Any) -> None:
    bodies = [
        request("flux-tiny", budget=budget, prompt=f"a small {name} in the center", **GIVEN)
        for budget, name in ((0.2, "cat"), (0.35, "tulip"), (0.6, "apple"))
    ]
    together = Engine(model).run(bodies)
    alone = [Engine(model).run([body])[0] for body in bodies]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.samples[0].latents, other.samples[0].latents)
        lines = zip(one.samples[0].receipt.steps, other.samples[0].receipt.steps, strict=True)
        assert all(a.action is b.action and a.risk == b.risk for a, b in lines)
