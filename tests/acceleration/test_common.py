"""What every cache must keep, on a tiny real FLUX of three blocks and, for fixed traces, on the toy curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch

from protocol.receipts import FLOP_PER_TFLOP, Action, StepLine
from tests.acceleration.support import (
    Body,
    Curve,
    actions,
    block_calls,
    fulls,
    moved,
    plan_for,
    reasons,
    run,
)
from tests.engine.requests import png, request
from workers.engine import Result

STEPS = 8
UNLIMITED = {"granted": 2.0, "mode": "hard"}
"""A budget that refuses nothing, not even drafts that are thrown away."""


@dataclass(frozen=True)
class Case:
    """A method as it is tried here.

    Args:
        neutral: parameters under which it must change nothing.
        cheap: parameters under which it runs some evaluations in full and some not.
        looser: on the toy, from strict to loose.
        touched: the blocks that an evaluation which is not full may run.
        embeds: whether embedding and head run there.
    """

    method: str
    neutral: dict[str, float]
    cheap: dict[str, float]
    looser: list[dict[str, float]]
    touched: Callable[[StepLine], tuple[int, ...]] = lambda _line: ()
    embeds: bool = True


def _checked(line: StepLine) -> tuple[int, ...]:
    """SpeCa's last block runs where it says how far a draft is off."""
    return () if line.risk is None else (2,)


def _steps(name: str, *values: float, **others: float) -> list[dict[str, float]]:
    return [{name: value, **others} for value in values]


THRESHOLDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
CASES = {
    "taylorseer": Case(
        "taylorseer", {"interval": 1}, {"interval": 3}, _steps("interval", 1, 2, 3, 5, 8, 30), embeds=False
    ),
    "fora": Case(
        "fora", {"interval": 1}, {"interval": 4}, _steps("interval", 1, 2, 3, 5, 8, 30), embeds=False
    ),
    "static": Case(
        "static",
        {"num_full": 99},
        {"num_full": 5, "order": 2},
        _steps("num_full", 99, 20, 9, 4, 1),
        embeds=False,
    ),
    "teacache": Case("teacache", {"threshold": 0}, {"threshold": 0.6}, _steps("threshold", *THRESHOLDS)),
    "first-block": Case(
        "first-block-cache",
        {"threshold": 0},
        {"threshold": 0.5},
        _steps("threshold", *THRESHOLDS),
        lambda _line: (0,),
    ),
    "dbcache": Case(
        "first-block-cache",
        {"threshold": 0, "last": 1, "order": 2},
        {"threshold": 0.5, "last": 1, "order": 2, "warmup": 1},
        _steps("threshold", *THRESHOLDS, last=1, order=1),
        lambda _line: (0, 2),
    ),
    "magcache": Case("magcache", {"threshold": 0}, {}, _steps("threshold", *THRESHOLDS)),
    "speca": Case("speca", {"max_skip": 0}, {"threshold": 0.5}, _steps("max_skip", 0, 1, 2, 4, 8), _checked),
    "speca-rejecting": Case(
        "speca",
        {"lagged": 0, "threshold": 0, "floor": 0, "min_skip": 0},
        {"lagged": 0, "threshold": 0.5, "floor": 0, "min_skip": 0},
        _steps("threshold", *THRESHOLDS, lagged=0, floor=0, min_skip=0),
        _checked,
    ),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def body(**given: Any) -> Body:
    return request(**{"num_inference_steps": STEPS, **given})


def guided(scale: float = 3.0, **given: Any) -> Body:
    return body(**{"negative_prompt": "a car", "guidance_scale": scale, **given})


def cheaply(model: Any, case: Case, what: Body, **plan: Any) -> tuple[Body, Any]:
    """A job under the case's cheap parameters, whatever the budget."""
    return what, plan_for(model, what, case.method, case.cheap, **{**UNLIMITED, **plan})


def same(one: Result, other: Result) -> bool:
    """Equal latents, equal pictures, equal decisions."""
    (left,), (right,) = one.samples, other.samples
    decisions = actions(one) == actions(other) and reasons(one) == reasons(other)
    return torch.equal(left.latents, right.latents) and png(left.image) == png(right.image) and decisions


def test_neutral_is_the_uncached_run_bit_for_bit(flux: Any, case: Case) -> None:
    for what in (body(), guided()):
        plan = plan_for(flux, what, case.method, case.neutral, **UNLIMITED)
        plain, neutral = run(flux, [(what, None), (what, plan)])
        assert actions(neutral) == [Action.FULL] * STEPS
        assert torch.equal(neutral.samples[0].latents, plain.samples[0].latents)


def test_looser_never_adds_full_evaluations_on_a_fixed_trace(case: Case) -> None:
    """The toy's features do not depend on what was decided."""
    curve = Curve(lambda k: 0.2 * k + 0.01 * k * k, 30)
    counts = [len(fulls(moved(curve, case.method, parameters))) for parameters in case.looser]
    assert all(fewer <= more for more, fewer in pairwise(counts))
    assert counts[0] == 30
    assert counts[-1] < 15


@pytest.mark.parametrize("what", [body(), guided()], ids=["one lane", "guided"])
def test_a_cheap_evaluation_touches_only_what_it_promises(flux: Any, case: Case, what: Body) -> None:
    """Block calls by hooks, lane by lane, and FLOP by the receipt, against the network's own costs."""
    job = cheaply(flux, case, what)
    with block_calls(flux) as rows:
        (result,) = run(flux, [job])
    receipt = result.samples[0].receipt
    lanes = 2 if "negative_prompt" in what["input"] else 1
    assert {line.action for line in receipt.steps} > {Action.FULL}
    ran = [_blocks(case, line) for line in receipt.steps]
    assert dict(rows) == {block: lanes * sum(blocks.count(block) for blocks in ran) for block in range(3)}
    for line, blocks in zip(receipt.steps, ran, strict=True):
        assert line.blocks_run == len(blocks)
        assert round(line.tflops * FLOP_PER_TFLOP) == lanes * _flop(flux, case, line, blocks)
    assert receipt.spent == pytest.approx(sum(line.tflops for line in receipt.steps))


def _blocks(case: Case, line: StepLine) -> tuple[int, ...]:
    """The blocks an evaluation must have run; a rejected draft's check comes on top."""
    if line.action is not Action.FULL:
        return case.touched(line)
    return (2, 0, 1, 2) if line.reason == "rejected" else (0, 1, 2)


def _flop(model: Any, case: Case, line: StepLine, blocks: tuple[int, ...]) -> int:
    cost = model.network.layout.cost(model.grid(64, 64))
    outside = cost.embed + cost.head if case.embeds or line.action is Action.FULL else 0
    return outside + sum(cost.blocks[block] for block in blocks)


def test_two_prompts_in_one_process_equal_two_engines(flux: Any, case: Case) -> None:
    """Together in one engine, and one after the other: no state outlives or leaves its sample."""
    jobs = [cheaply(flux, case, body(prompt=prompt, seed=3)) for prompt in ("the sun", "two blue dogs")]
    alone = [run(flux, [job])[0] for job in jobs]
    together = run(flux, jobs)
    assert not torch.equal(alone[0].samples[0].latents, alone[1].samples[0].latents)
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))


def test_guided_lanes_do_not_mix(flux: Any, case: Case) -> None:
    """At a scale of hardly over 1 the guided output is the conditional lane's: decisions are those of one
    lane alone and the latents next to them, whatever the negative prompt. Another prompt alone is far off, so
    the other lane's states would be.
    """
    told = [body(prompt="the sun"), body(prompt="two blue dogs")]
    told += [guided(1.000001, prompt="the sun", negative_prompt=text) for text in ("a car", "two blue dogs")]
    single, other, *both = run(flux, [cheaply(flux, case, what) for what in told])
    expected = single.samples[0].latents
    assert not torch.allclose(other.samples[0].latents, expected, rtol=0.02, atol=0.02)
    for result in both:
        assert result.receipt.full_tflops == pytest.approx(2 * single.receipt.full_tflops)
        assert actions(result) == actions(single)
        torch.testing.assert_close(result.samples[0].latents, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("what", [body(), guided()], ids=["one lane", "guided"])
def test_hard_mode_never_exceeds_its_grant(flux: Any, case: Case, what: Body) -> None:
    """Even with parameters that would have every evaluation full."""
    plans = [
        plan_for(flux, what, case.method, parameters, granted=granted, mode="hard")
        for parameters in (case.neutral, case.cheap)
        for granted in (0.13, 0.25, 0.4, 0.75)
    ]
    for plan, result in zip(plans, run(flux, [(what, plan) for plan in plans]), strict=True):
        assert result.receipt.spent <= plan.granted
        assert actions(result)[0] is Action.FULL


def test_a_refusal_says_so_and_soft_mode_has_its_allowance(flux: Any, case: Case) -> None:
    """All evaluations wanted, less than half granted. A SpeCa that rejects checks only what it can reject."""
    what = body()
    modes: tuple[Literal["hard", "soft"], ...] = ("hard", "soft")
    plans = [plan_for(flux, what, case.method, case.neutral, granted=0.49, mode=mode) for mode in modes]
    hard, soft = run(flux, [(what, plan) for plan in plans])
    refused = "schedule" if case.neutral.get("lagged") == 0 else "guard_denied"
    assert refused in reasons(hard)
    assert hard.receipt.spent <= 0.49
    assert hard.receipt.spent < soft.receipt.spent <= 0.59


def test_a_row_in_a_batch_of_three_equals_alone(flux: Any, case: Case) -> None:
    """One lane and guided; between them the same method at other settings and another length."""
    jobs = [cheaply(flux, case, body()), cheaply(flux, case, guided(seed=2, prompt="the sun"))]
    alone = [run(flux, [job])[0] for job in jobs]
    shorter = body(seed=1, num_inference_steps=7)
    neighbour = (shorter, plan_for(flux, shorter, case.method, case.neutral, **UNLIMITED))
    first, _, last = run(flux, [jobs[0], neighbour, jobs[1]])
    assert same(first, alone[0])
    assert same(last, alone[1])


@pytest.mark.parametrize(
    ("dtype", "names"),
    [("float32", list(CASES)), ("bfloat16", ["teacache", "dbcache", "speca-rejecting"])],
)
def test_a_company_of_methods_is_each_alone(
    load_flux: Callable[..., Any], dtype: str, names: list[str]
) -> None:
    """Fewer in bfloat16, which is slow on most CPUs."""
    model = load_flux("plain", dtype)
    bodies = [body(seed=seed, num_inference_steps=5) for seed in range(len(names))]
    jobs = [cheaply(model, CASES[name], what) for name, what in zip(names, bodies, strict=True)]
    alone = [run(model, [job])[0] for job in jobs]
    assert all(same(one, other) for one, other in zip(alone, run(model, jobs), strict=True))
