"""SoftCap on the tiny real FLUX, calibrated with paths that extrapolate linearly."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch

from protocol.calibration import Calibration, CalibrationPoint
from protocol.receipts import Action
from tests.acceleration.fitted_paths import linear
from tests.acceleration.support import Body, actions, plan_for, reasons, run, run_one
from tests.engine.requests import request

STEPS = 8
NODES = ((0, 2, 5), (0, 1, 3, 5), (0, 1, 2, 4, 6))
NUM_FEATURES = 32 + 32
"""Widths of its two text encoders."""
TABLE = {
    "softcap": {
        "paths": [linear(nodes, STEPS) for nodes in NODES],
        "weights": [(-1) ** place / (1 + place) for place in range(NUM_FEATURES)],
    }
}
LADDER: dict[str, float] = {"path_0": 0, "path_1": 1, "path_2": 2}


@pytest.fixture
def calibrated(flux: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny FLUX with three linear paths."""
    made = Calibration(
        digest=flux.catalog.digest,
        created=0,
        model_created=0,
        num_inference_steps=STEPS,
        settings={},
        points=(),
        tables=TABLE,
    )
    monkeypatch.setattr(flux, "calibration", made)
    return flux


def body(**given: Any) -> Body:
    return request(**{"num_inference_steps": STEPS, **given})


def job(model: Any, what: Body, parameters: dict[str, float], **given: Any) -> tuple[Body, Any]:
    return what, plan_for(model, what, "softcap", parameters, **{"mode": "hard", **given})


@pytest.mark.parametrize("path", [0, 1, 2])
def test_linear_weights_are_the_static_schedule(calibrated: Any, path: int) -> None:
    """Two ways to add up the same velocities; rounding differs."""
    what = body()
    fitted = run_one(calibrated, *job(calibrated, what, {"path_0": path}))
    parameters = {"order": 1, "newton": 1}
    static = plan_for(calibrated, what, "static", parameters, nodes=NODES[path])
    stepwise = run_one(calibrated, what, static)
    assert actions(fitted) == actions(stepwise)
    torch.testing.assert_close(fitted.samples[0].latents, stepwise.samples[0].latents, rtol=1e-5, atol=1e-5)


def test_all_evaluations_full_with_plain_weights_is_the_unabridged_run(
    calibrated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = linear(range(STEPS), STEPS)
    tables = {"softcap": {"paths": [everywhere]}}
    monkeypatch.setattr(
        calibrated, "calibration", calibrated.calibration.model_copy(update={"tables": tables})
    )
    plain, cached = run(calibrated, [(body(), None), job(calibrated, body(), {"path_0": 0})])
    torch.testing.assert_close(cached.samples[0].latents, plain.samples[0].latents, rtol=1e-5, atol=1e-5)


def test_rows_in_company_are_each_alone(calibrated: Any) -> None:
    """A calm, a hard and a very hard prompt, a guided one and an unabridged run, all in one engine."""
    bodies = [
        body(seed=seed, prompt=prompt) for seed, prompt in enumerate(("the sun", "two blue dogs", "a car"))
    ]
    bodies.append(body(seed=7, negative_prompt="a car", guidance_scale=3.0))
    seen = [run_one(calibrated, *job(calibrated, what, {"path_0": 0, "path_1": 1})) for what in bodies]
    risks = sorted(_risk(result) for result in seen)
    parameters = {**LADDER, "threshold_1": (risks[0] + risks[1]) / 2, "threshold_2": risks[-1] - 1e-9}
    jobs = [*(job(calibrated, what, parameters) for what in bodies), (body(seed=9), None)]
    alone = [run_one(calibrated, *each) for each in jobs]
    together = run(calibrated, jobs)
    assert len({tuple(actions(result)) for result in alone}) == 4
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.samples[0].latents, other.samples[0].latents)
        assert (actions(one), reasons(one)) == (actions(other), reasons(other))
        assert [line.risk for line in one.samples[0].receipt.steps] == [
            line.risk for line in other.samples[0].receipt.steps
        ]


def _risk(result: Any) -> float:
    risk = result.samples[0].receipt.steps[-1].risk
    assert isinstance(risk, float)
    return math.log(risk)


def test_from_a_budget_to_the_receipt(calibrated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A calibration's point at 3 of 8, asked for with .4."""
    point = CalibrationPoint(
        method="softcap",
        steps=STEPS,
        budget=3 / STEPS,
        spent=3 / STEPS,
        distance=0.03,
        tail=0.1,
        parameters={"path_0": 0},
        mode="soft",
    )
    known = {"calibration": calibrated.calibration.id, "points": (point,)}
    monkeypatch.setattr(calibrated, "catalog", calibrated.catalog.model_copy(update=known))
    result = run_one(calibrated, {**body(), "compute_budget": 0.4})
    (sample,) = result.samples
    assert (result.receipt.budget, result.receipt.granted, result.receipt.spent) == (0.4, 0.375, 0.375)
    told = sample.receipt.plan
    assert (told.methods, told.parameters) == (("softcap",), {"path_0": 0})
    assert (told.calibration, told.expected_distance) == (calibrated.calibration.id, 0.03)
    assert [line.index for line in sample.receipt.steps if line.action is Action.FULL] == [0, 2, 5]


def test_what_is_spent_stays_within_the_mode(calibrated: Any) -> None:
    """Every risk asks for the dearest path, five of eight evaluations; a tenth of full pays none."""
    parameters = {**LADDER, "threshold_1": -9.0, "threshold_2": -9.0}
    modes: tuple[Literal["hard", "soft"], ...] = ("hard", "soft")
    for mode in modes:
        for count in range(1, STEPS + 1):
            what = body()
            made = plan_for(calibrated, what, "softcap", parameters, granted=count / STEPS, mode=mode)
            spent = run_one(calibrated, what, made).receipt.spent
            assert spent <= made.cap_flop / made.full_flop + 1e-9
            assert spent == pytest.approx(min(count, 5) / STEPS)
