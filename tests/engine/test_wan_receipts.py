"""A clip's receipt is true: line by line what torch counts around the very run, the decoder included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.receipts import FLOP_PER_TFLOP, Action
from tests.engine.clips import clip
from tests.engine.test_receipts import counted_run
from tests.engine.toys import Drop, FirstBlock, Interval
from workers.core import Stack
from workers.engine import Engine


@pytest.mark.parametrize("given", [{}, {"guidance_scale": 1.0}, {"num_frames": 1, "width": 48}])
def test_every_line_is_torchs_count(load_wan: Callable[..., Any], given: dict[str, Any]) -> None:
    """Encoding comes with the first turn, decoding with the last; all else is denoising, and exact."""
    engine = Engine(load_wan())
    engine.add(clip(num_inference_steps=4, **given))
    result, turns, total = counted_run(engine)
    assert len(turns) == 2
    for counted, said in turns:
        assert said == pytest.approx(counted, rel=1e-9)
    receipt = result.receipt
    assert (receipt.tflops + receipt.other_tflops) * FLOP_PER_TFLOP == pytest.approx(total, rel=1e-9)
    assert receipt.spent == receipt.granted == receipt.budget == 1.0


def test_two_lanes_cost_twice(load_wan: Callable[..., Any]) -> None:
    guided, single = Engine(load_wan()).run([clip(), clip(guidance_scale=1.0)])
    assert guided.receipt.tflops == pytest.approx(2 * single.receipt.tflops)
    assert (guided.receipt.nfe, single.receipt.nfe) == (6, 3)


@pytest.mark.parametrize(
    ("stack", "actions"),
    [
        (Stack(cache=Interval(3)), {Action.FULL, Action.FORECAST}),
        (Stack(cache=FirstBlock(3, 10.0)), {Action.FULL, Action.PARTIAL}),
        (Stack(router=Drop(3, (1,))), {Action.FULL, Action.ROUTED}),
    ],
)
def test_the_lines_of_methods_are_true_as_well(
    load_wan: Callable[..., Any], stack: Stack, actions: set[Action]
) -> None:
    engine = Engine(load_wan(), build_stack=lambda _plan: stack)
    engine.add(clip(num_inference_steps=6))
    result, turns, _ = counted_run(engine)
    for counted, said in turns:
        assert said == pytest.approx(counted, rel=1e-9)
    assert {line.action for line in result.samples[0].receipt.steps} == actions
    assert result.receipt.spent < 1.0
