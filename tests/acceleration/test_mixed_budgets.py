"""Eight budgets in one batch, on the tiny FLUX: each row does what it does alone, to the last bit.

SoftCap's calibration is made by hand: a path for every number of anchors n, and n + 2 for prompts of high
risk. Over 20 steps 2 anchors are .1 of full compute, just what a soft run may go above its grant.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from protocol.calibration import Calibration
from protocol.drafts import even_nodes
from protocol.plan import Plan
from tests.acceleration.support import Body, plan_for
from tests.engine.requests import drain, request
from workers.acceleration import Methods
from workers.engine import Engine, Finished, Result

STEPS = 20
BUDGETS = (1.0, 0.9, 0.75, 0.6, 0.5, 0.35, 0.25, 0.2)
GUIDED = {"negative_prompt": "a car", "guidance_scale": 3.0}
PROMPTS = (
    "a red apple",
    "two blue dogs",
    "one small tree left of a car",
    "the sun",
    "a white car on a blue background",
    "two small red dogs",
    "a tree",
    "the sun left of one apple",
)
FEATURES = 64
"""Channels of the tiny T5 and CLIP."""
Job = tuple[Body, Plan | None]


def path(anchors: int) -> dict[str, Any]:
    """A gap's velocity is -1/4 of the output before and 5/4 of the last."""
    nodes = even_nodes(anchors, STEPS)
    weights = [[1.0], *([-0.25, 1.25] for _ in nodes[1:])]
    return {"nodes": list(nodes), "weights": weights}


TABLE = {
    "paths": [path(anchors) for anchors in range(1, STEPS + 1)],
    "weights": [(-1.0) ** place for place in range(FEATURES)],
}
CALIBRATION = Calibration.model_validate(
    {"digest": "0" * 64, "created": 0, "model_created": 0, "num_inference_steps": STEPS, "settings": {}}
    | {"points": (), "tables": {"softcap": TABLE}}
)


def body(seed: int, **given: Any) -> Body:
    return request(seed=seed, num_inference_steps=STEPS, prompt=PROMPTS[seed], **given)


def anchors_at(budget: float) -> int:
    return round(budget * STEPS)


def softcap(model: Any, asked: Body, budget: float, threshold: float) -> Job:
    """SoftCap at a budget, a risk of `threshold` or more buys two anchors; at budget 1 no method."""
    if budget == 1.0:
        return asked, None
    anchors = anchors_at(budget)
    parameters = {"path_0": anchors - 1.0, "path_1": anchors + 1.0, "threshold_1": threshold}
    plan = plan_for(model, asked, "softcap", parameters)
    return asked, plan.model_copy(update={"granted_flop": anchors * plan.full_flop // STEPS})


def run(model: Any, jobs: Sequence[Job]) -> list[Result]:
    """All of them in one engine that knows the calibration; results in order."""
    engine = Engine(model, build_stack=Methods(model.network.layout, CALIBRATION).stack)
    keys = [engine.add(asked, plan=plan) for asked, plan in jobs]
    results = {event.id: event.result for event in drain(engine) if isinstance(event, Finished)}
    return [results[key] for key in keys]


def lines(result: Result) -> list[dict[str, Any]]:
    """The receipt's lines but for their seconds."""
    return [line.model_dump(exclude={"seconds"}) for line in result.samples[0].receipt.steps]


def risk_of(result: Result) -> float | None:
    """The log of what the lines show: thresholds are logs."""
    shown = result.samples[0].receipt.steps[-1].risk
    return None if shown is None else math.log(shown)


def median_risk(model: Any, make: Any) -> float:
    """A threshold that some of these rows reach and others do not."""
    found = [risk_of(result) for result in run(model, make(1e9))]
    return statistics.median(each for each in found if each is not None) - 1e-9


def assert_as_alone(model: Any, jobs: Sequence[Job], together: Sequence[Result]) -> None:
    for job, company in zip(jobs, together, strict=True):
        (alone,) = run(model, [job])
        assert lines(company) == lines(alone)
        assert torch.equal(company.samples[0].latents, alone.samples[0].latents)


def mixed(model: Any, threshold: float) -> list[Job]:
    return [softcap(model, body(seed), budget, threshold) for seed, budget in enumerate(BUDGETS)]


def company(model: Any, threshold: float) -> list[Job]:
    """SoftCap at two budgets and guided, beside other methods and a guided unabridged row."""
    guided = body(2, **GUIDED)
    jobs = [softcap(model, body(0), 0.5, threshold), softcap(model, body(1), 0.25, threshold)]
    jobs.append(softcap(model, guided, 0.35, threshold))
    for seed, method in enumerate(("softcap-paper", "static", "first-block-cache"), start=3):
        asked = body(seed)
        jobs.append((asked, plan_for(model, asked, method, granted=0.5)))
    return [*jobs, (body(6, **GUIDED), None)]


@pytest.mark.parametrize("make", [mixed, company])
def test_each_row_does_what_it_does_alone(flux: Any, make: Any) -> None:
    """Calm and risky rows are both among them, so that what is compared was decided."""
    threshold = median_risk(flux, lambda given: make(flux, given))
    jobs = make(flux, threshold)
    together = run(flux, jobs)
    decided = {each >= threshold for result in together if (each := risk_of(result)) is not None}
    assert decided == {True, False}
    assert_as_alone(flux, jobs, together)


def test_spending_follows_budget_and_risk(flux: Any) -> None:
    """A row granted n anchors spends n/20, a risky one (n + 2)/20, and says so."""
    threshold = median_risk(flux, lambda given: mixed(flux, given))
    for budget, result in zip(BUDGETS[1:], run(flux, mixed(flux, threshold))[1:], strict=True):
        risk = risk_of(result)
        assert risk is not None
        risky = risk >= threshold
        assert result.receipt.granted == pytest.approx(budget)
        assert result.receipt.spent == pytest.approx((anchors_at(budget) + 2 * risky) / STEPS)
        assert ("risk" in {line["reason"] for line in lines(result)}) == risky


def test_a_hard_row_is_denied_what_a_soft_neighbour_gets(flux: Any) -> None:
    """The same sample twice in one batch, risky by any threshold; the hard one stays on the calm path."""
    asked = body(1)
    job = softcap(flux, asked, 0.5, -1e9)
    assert job[1] is not None
    soft, hard = run(flux, [job, (asked, job[1].model_copy(update={"mode": "hard"}))])
    assert [soft.receipt.spent, hard.receipt.spent] == pytest.approx([0.6, 0.5])
