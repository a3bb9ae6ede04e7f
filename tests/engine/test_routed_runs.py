"""A PARE student through the engine: what runs, what it costs, and that company changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from protocol.cost import own_cost
from protocol.jobs import GenerationRequest
from protocol.methods import CACHES
from protocol.plan import Plan, make_plan
from protocol.receipts import FLOP_PER_TFLOP, Action
from protocol.resolve import resolve
from tests.acceleration.routing import calibration
from tests.engine.clips import clip, same
from tests.engine.requests import drain
from tests.engine.test_receipts import counted_run
from workers.acceleration import Methods
from workers.engine import Engine, Finished, Result

STEPS = 5
BLOCKS = 6
DEPTHS = (5, 4, 4, 3, 2)


def body(budget: Any = None, *, methods: list[str] | None = None, mode: str = "soft", **given: Any) -> Any:
    asked = clip("student", **{"num_inference_steps": STEPS, **given})
    fraction = 1.0 if budget is None else budget
    return {**asked, "compute_budget": {"fraction": fraction, "methods": methods, "mode": mode}}


def plan_of(model: Any, asked: Any, **changes: Any) -> Plan:
    made = make_plan(resolve(GenerationRequest.model_validate(asked), model.catalog), model.catalog)
    return made.model_copy(update=changes)


def row_cost(model: Any) -> Any:
    return own_cost(model.catalog.shapes, width=32, height=32, num_frames=5)


def run(model: Any, jobs: list[tuple[Any, Plan | None]], build_stack: Any = None) -> list[Result]:
    """All of them together in one engine; results in order."""
    engine = Engine(model, build_stack=build_stack)
    keys = [engine.add(asked, plan=plan) for asked, plan in jobs]
    results = {event.id: event.result for event in drain(engine) if isinstance(event, Finished)}
    return [results[key] for key in keys]


def lines(result: Result) -> list[Any]:
    """A receipt's lines without their seconds."""
    return [line.model_dump(exclude={"seconds"}) for line in result.samples[0].receipt.steps]


@contextmanager
def block_rows(model: Any) -> Iterator[list[Counter[int]]]:
    """Rows that every block saw, an entry an evaluation; block 0 always runs and opens it."""
    seen: list[Counter[int]] = []

    def count(index: int) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, given: dict[str, Any], _output: Any) -> None:
            if index == 0:
                seen.append(Counter())
            seen[-1][index] += given["hidden_states"].shape[0]

        return hook

    blocks = model.pipeline.transformer.blocks
    handles = [
        block.register_forward_hook(count(index), with_kwargs=True) for index, block in enumerate(blocks)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("method", ["pare", "static-drop", "random-drop"])
def test_exactly_k_blocks_run_at_every_step(load_student: Callable[..., Any], method: str) -> None:
    """Two lanes under one decision; the first and the last block always; FLOP by the formula."""
    model, asked = load_student(), body()
    row = row_cost(model)
    cost = sum(2 * (row.embed + depth * row.blocks[0] + row.head) for depth in DEPTHS)
    plan = plan_of(model, asked, methods=(method,), depths=DEPTHS, granted_flop=cost)
    with block_rows(model) as seen:
        (result,) = run(model, [(asked, plan)])
    assert [len(evaluation) for evaluation in seen] == list(DEPTHS)
    assert all(set(evaluation.values()) == {2} for evaluation in seen)
    assert all({0, BLOCKS - 1} <= set(evaluation) for evaluation in seen)
    receipt = result.samples[0].receipt
    assert [(line.action, line.blocks_run, line.blocks_total) for line in receipt.steps] == [
        (Action.ROUTED, depth, BLOCKS) for depth in DEPTHS
    ]
    assert receipt.spent == receipt.granted == cost / FLOP_PER_TFLOP
    assert receipt.nfe == 2 * STEPS
    assert receipt.plan.depths == DEPTHS


def test_the_blocks_follow_the_input(load_student: Callable[..., Any]) -> None:
    """Else the router would not be asked; seeds differ in their noise alone."""
    model, asked = load_student(), body()
    plan = plan_of(model, asked, depths=(4,) * STEPS)
    chosen = []
    for seed in range(4):
        with block_rows(model) as seen:
            run(model, [(body(seed=seed), plan)])
        chosen.append(tuple(tuple(evaluation) for evaluation in seen))
    assert len(set(chosen)) > 1


def router_flop(model: Any) -> int:
    """What one asking of the router takes: three products."""
    return sum(2 * layer.weight.numel() for layer in model.depth_router.layers[::2])


@pytest.mark.parametrize("budget", [1.0, 0.4])
def test_every_line_is_torchs_count(load_student: Callable[..., Any], budget: float) -> None:
    """But for the router's own three products an evaluation, which are not charged."""
    model = load_student()
    engine = Engine(model)
    engine.add(body(budget))
    result, turns, _ = counted_run(engine)
    assert len(turns) == STEPS - 2
    for counted, said in turns:
        assert said == pytest.approx(counted - router_flop(model), rel=1e-9)
    receipt = result.samples[0].receipt
    assert receipt.spent == receipt.granted
    assert result.receipt.spent < budget


def test_blocks_and_compute_fall_with_the_budget(load_student: Callable[..., Any]) -> None:
    model = load_student()
    results = [
        Engine(model).run([body(budget, methods=["pare"])])[0] for budget in (1.0, 0.55, 0.45, 0.35, 0.26)
    ]
    blocks = [sum(line.blocks_run for line in result.samples[0].receipt.steps) for result in results]
    spent = [result.receipt.spent for result in results]
    assert blocks == sorted(blocks, reverse=True)
    assert len(set(blocks)) == 5
    assert spent == sorted(spent, reverse=True)
    assert all(result.receipt.spent == pytest.approx(result.receipt.granted) for result in results)


def test_without_pare_all_blocks_of_the_student_run(load_student: Callable[..., Any]) -> None:
    model = load_student()
    (result,) = Engine(model).run([body(methods=[])])
    receipt = result.samples[0].receipt
    assert {(line.action, line.blocks_run) for line in receipt.steps} == {(Action.FULL, BLOCKS)}
    assert receipt.spent == receipt.granted < result.receipt.full_tflops


def mixture(model: Any) -> list[tuple[Any, Plan | None]]:
    """Rows of eight kinds: budgets, routers, caches over routers, fewer steps, nothing, one lane, stacks."""
    teacache = {"methods": ("pare", "teacache"), "parameters": {"threshold": 0.3}}
    return [
        (body(0.4, seed=11, prompt="two blue dogs"), None),
        (body(1.0, seed=1), None),
        (body(0.5, seed=2, methods=["static-drop"]), None),
        (body(0.15, seed=3), None),
        (body(1.0, seed=4, methods=[]), None),
        (body(0.45, seed=5, methods=["random-drop"], guidance_scale=1.0), None),
        (body(0.2, seed=6, methods=["pare", "softcap"]), None),
        (body(0.5, seed=8), plan_of(model, body(0.5), **teacache)),
    ]


def test_a_mixed_batch_gives_the_bits_of_each_alone(load_student: Callable[..., Any]) -> None:
    """Different masks, budgets, caches and methods at once, at every size: latents, frames and lines."""
    model = load_student()
    jobs = mixture(model)
    alone = [run(model, [job])[0] for job in jobs]
    assert len({tuple(line["blocks_run"] for line in lines(result)) for result in alone}) >= 6
    for size in (2, 3, 5, 8):
        for mine, single in zip(run(model, jobs[:size]), alone, strict=False):
            assert same(mine, single)
            assert lines(mine) == lines(single)


def test_a_row_in_company_in_bfloat16(load_student: Callable[..., Any]) -> None:
    model = load_student("bfloat16")
    jobs = [(body(0.4, num_inference_steps=2, seed=seed), None) for seed in (1, 2, 3)]
    (alone,) = run(model, jobs[:1])
    assert same(run(model, jobs)[0], alone)


@pytest.mark.parametrize("method", CACHES)
def test_a_cache_over_the_router_keeps_the_cap(load_student: Callable[..., Any], method: str) -> None:
    """Hard, at three evaluations' worth: never above granted, whatever the cache wants, and no full one."""
    model = load_student()
    asked = body(0.2, methods=["pare", method], mode="hard", num_inference_steps=8)
    (result,) = run(model, [(asked, None)])
    receipt = result.samples[0].receipt
    assert set(receipt.plan.methods) == {"pare", method}
    assert receipt.spent <= receipt.granted
    actions = Counter(line.action for line in receipt.steps)
    assert actions[Action.FULL] == 0
    assert actions[Action.ROUTED] >= 1
    assert actions[Action.ROUTED] < 8


def test_forecasts_between_routed_evaluations_cost_what_was_granted(load_student: Callable[..., Any]) -> None:
    """SoftCap over PARE: routed at the nodes, forecasts elsewhere, to the FLOP."""
    model = load_student()
    asked = body(0.2, methods=["pare", "softcap"], mode="hard", num_inference_steps=8)
    plan = plan_of(model, asked)
    with block_rows(model) as seen:
        (result,) = run(model, [(asked, plan)])
    receipt = result.samples[0].receipt
    routed = [line.index for line in receipt.steps if line.action is Action.ROUTED]
    assert tuple(routed) == plan.nodes
    assert [len(evaluation) for evaluation in seen] == [plan.depths[node] for node in plan.nodes]
    assert {line.action for line in receipt.steps} == {Action.ROUTED, Action.FORECAST}
    assert receipt.spent == receipt.granted


def test_an_anchor_knows_which_blocks_made_it(load_student: Callable[..., Any]) -> None:
    model = load_student()
    engine = Engine(model)
    asked = body(0.2, methods=["pare", "softcap"], num_inference_steps=8)
    plan = plan_of(model, asked)
    engine.add(asked, plan=plan)
    engine.step()
    (flight,) = engine._flights.flying(model.name)
    mask = flight.state.anchors[-1].mask
    assert mask is not None
    assert sum(mask) == plan.depths[0]
    assert mask[0]
    assert mask[-1]


TABLE = {"sigmas": [0.0, 1.0], "quantiles": [[-20.0, 0.0, 20.0], [-20.0, 0.0, 20.0]]}
"""Not this router's quantiles: it will ask for far more or fewer blocks than planned."""


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_depths_that_follow_the_input_keep_the_account_in_company(
    load_student: Callable[..., Any], mode: str
) -> None:
    model = load_student()
    methods = Methods(model.network.layout, calibration({"pare": TABLE}), model.depth_router)
    jobs = []
    for seed in range(3):
        asked = body(0.45, mode=mode, seed=seed)
        jobs.append((asked, plan_of(model, asked, parameters={"adaptivity": 1.0})))
    together = run(model, jobs, methods.stack)
    alone = [run(model, [job], methods.stack)[0] for job in jobs]
    for mine, single, (_, plan) in zip(together, alone, jobs, strict=True):
        assert same(mine, single)
        assert lines(mine) == lines(single)
        receipt = mine.samples[0].receipt
        assert receipt.spent * FLOP_PER_TFLOP <= plan.cap_flop * (1 + 1e-12)
        assert [line.blocks_run for line in receipt.steps] != list(plan.depths)


def test_the_unpruned_run_is_what_all_is_charged_against(load_student: Callable[..., Any]) -> None:
    model = load_student()
    (result,) = Engine(model).run([body(1.0)])
    shares = [line.tflops for line in result.samples[0].receipt.steps]
    assert result.receipt.full_tflops > sum(shares) > 0
    assert torch.isfinite(result.samples[0].latents).all()
