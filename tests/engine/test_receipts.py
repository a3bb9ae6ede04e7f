"""The receipt is true: line by line it is what torch counts around the very run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from protocol.receipts import FLOP_PER_TFLOP, Action
from tests.engine.requests import request
from tests.engine.toys import Drop, FirstBlock, Interval
from workers.core import Stack
from workers.engine import Engine, Finished, Result, StepDone

CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def attention_flop(
    query: Any, key: Any, value: Any, *_args: Any, out_shape: Any = None, **_kwargs: Any
) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def counter() -> FlopCounterMode:
    """Torch's counter, taught that attention on a CPU costs something too."""
    return FlopCounterMode(display=False, custom_mapping={CPU_ATTENTION: attention_flop})


def counted_run(engine: Engine) -> tuple[Result, list[tuple[int, float]], int]:
    """Run to the end: the result, (counted, said) FLOP of each pure denoising turn, and all counted."""
    turns, total, result = [], 0, None
    while not engine.idle:
        with counter() as mode:
            events = engine.step()
        total += mode.get_total_flops()
        lines = [event for event in events if isinstance(event, StepDone)]
        if len(lines) == len(events):
            turns.append((mode.get_total_flops(), sum(event.line.tflops for event in lines) * FLOP_PER_TFLOP))
        result = next((event.result for event in events if isinstance(event, Finished)), result)
    assert result is not None
    return result, turns, total


@pytest.mark.parametrize("budget", [1.0, 0.5])
@pytest.mark.parametrize("name", ["plain", "distilled"])
def test_every_line_agrees_with_torchs_counter(
    load_flux: Callable[..., Any], name: str, budget: float
) -> None:
    engine = Engine(load_flux(name))
    engine.add(request(name, budget=budget, num_inference_steps=8))
    result, turns, total = counted_run(engine)
    receipt = result.receipt
    assert len(receipt.samples[0].steps) == 8 * budget
    assert len(turns) == 8 * budget - 2
    for counted, said in turns:
        assert said == pytest.approx(counted, rel=0.01)
    assert (receipt.tflops + receipt.other_tflops) * FLOP_PER_TFLOP == pytest.approx(total, rel=0.01)
    assert (receipt.budget, receipt.granted, receipt.spent) == (budget, budget, budget)
    assert receipt.full_tflops * budget == pytest.approx(receipt.tflops)


def test_attention_is_counted_at_all(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"))
    engine.add(request())
    with counter() as mode:
        engine.step()
    assert mode.get_flop_counts()["Global"][CPU_ATTENTION] > 0


def test_two_lanes_cost_twice(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"))
    engine.add(request(negative_prompt="the sun", guidance_scale=2.0, num_inference_steps=4))
    result, turns, total = counted_run(engine)
    for counted, said in turns:
        assert said == pytest.approx(counted, rel=0.01)
    receipt = result.receipt
    assert (receipt.tflops + receipt.other_tflops) * FLOP_PER_TFLOP == pytest.approx(total, rel=0.01)
    (single,) = Engine(load_flux("plain")).run([request(num_inference_steps=4)])
    assert receipt.tflops == pytest.approx(2 * single.receipt.tflops)
    assert (receipt.spent, receipt.nfe) == (1.0, 8)


def test_a_shared_turns_seconds_are_shared_out(load_flux: Callable[..., Any]) -> None:
    """Two of one lane and one of two: the seconds add up to the turn, the guided one has half of it."""
    engine = Engine(load_flux("plain"))
    engine.add(request(seed=1))
    engine.add(request(seed=2))
    guided = engine.add(request(seed=3, negative_prompt="the sun", guidance_scale=2.0))
    seconds = {event.id: event.line.seconds for event in engine.step() if isinstance(event, StepDone)}
    assert engine.last_turn is not None
    assert sum(seconds.values()) == pytest.approx(engine.last_turn.seconds)
    assert seconds[guided] == pytest.approx(engine.last_turn.seconds / 2, rel=1e-3)


def test_lines_add_up(load_flux: Callable[..., Any]) -> None:
    (result,) = Engine(load_flux("plain")).run([request(n=2, num_inference_steps=4)])
    receipt = result.receipt
    for sample in receipt.samples:
        assert [line.index for line in sample.steps] == [0, 1, 2, 3]
        assert sum(line.tflops for line in sample.steps) == pytest.approx(sample.spent)
        assert all(
            line.action is Action.FULL and line.blocks_run == line.blocks_total == 3 for line in sample.steps
        )
    assert sum(sample.spent for sample in receipt.samples) == pytest.approx(receipt.tflops)
    assert receipt.nfe == 8
    assert set(result.stage_seconds) == {"encode", "denoise", "decode"}
    assert sum(result.stage_seconds.values()) <= receipt.wall_s * 1.01


@pytest.mark.parametrize(
    ("stack", "actions"),
    [
        (Stack(cache=Interval(3)), {Action.FULL, Action.FORECAST}),
        (Stack(cache=FirstBlock(3, 10.0)), {Action.FULL, Action.PARTIAL}),
        (Stack(router=Drop(3, (1,))), {Action.FULL, Action.ROUTED}),
    ],
)
def test_the_lines_of_methods_are_true_as_well(
    load_flux: Callable[..., Any], stack: Stack, actions: set[Action]
) -> None:
    """Caches and routers of the test's own beside a plain neighbour; the counter agrees and the bits stay."""
    model = load_flux("plain")
    (alone,) = Engine(model, build_stack=lambda _plan: stack).run([request(num_inference_steps=6)])
    stacks = iter([stack, Stack()])
    engine = Engine(model, build_stack=lambda _plan: next(stacks))
    subject = engine.add(request(num_inference_steps=6))
    engine.add(request(seed=1, num_inference_steps=6))
    results: dict[str, Result] = {}
    while not engine.idle:
        with counter() as mode:
            events = engine.step()
        lines = [event for event in events if isinstance(event, StepDone)]
        if lines and len(lines) == len(events):
            said = sum(event.line.tflops for event in lines) * FLOP_PER_TFLOP
            assert said == pytest.approx(mode.get_total_flops(), rel=0.01)
        results |= {event.id: event.result for event in events if isinstance(event, Finished)}
    receipt = results[subject].receipt
    assert {line.action for line in receipt.samples[0].steps} == actions
    assert receipt.spent < 1.0
    assert torch.equal(results[subject].samples[0].latents, alone.samples[0].latents)
