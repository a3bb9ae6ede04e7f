"""The gate's value and gradient, and who runs which block."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from workers.core import Batch
from workers.core.pare_router import DepthRouter, depth
from workers.models.pare import Pare
from workers.models.wan import Wan
from workers.training.pare.evaluation import RoutedTransformer
from workers.training.pare.forward import Routes, batch_of, evaluate
from workers.training.pare.router_start import (
    depth_range,
    first_logits,
    fixed_logits,
    new_router,
    router_shape,
)
from workers.training.pare.routing import Chooser, straight_through
from workers.training.pare.settings import PareSettings
from workers.training.pare.sources import ClipSource
from workers.training.pare.static_blocks import best_blocks

SIGMAS = torch.tensor([1.0, 0.6, 0.05])


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch(source: ClipSource) -> Batch:
    rows = torch.arange(3)
    return batch_of(source.latents(rows), SIGMAS, source.text(rows))


@pytest.fixture
def calls(teacher: Wan) -> Any:
    """Rows each of the teacher's blocks was given, by block."""
    seen: dict[int, list[int]] = {index: [] for index in range(4)}
    handles = [
        block.register_forward_pre_hook(
            lambda _module, _args, given, index=index: seen[index].append(len(given["hidden_states"])),
            with_kwargs=True,
        )
        for index, block in enumerate(teacher.pipeline.transformer.blocks)
    ]
    yield seen
    for handle in handles:
        handle.remove()


def test_the_gate_is_exactly_the_mask_and_learns_as_a_sigmoid() -> None:
    logits = torch.linspace(-20, 20, 4001, requires_grad=True)
    mask = torch.arange(4001) % 2 == 0
    gate = straight_through(mask, logits)
    assert torch.equal(gate, mask.float())
    gate.sum().backward()
    soft = torch.sigmoid(logits.detach())
    assert torch.allclose(logits.grad, soft * (1 - soft))


def test_a_skipped_block_learns_only_when_it_is_probed(teacher: Wan, batch: Batch) -> None:
    """The gradient of a gate is <dL/dx, B(x) - x>; without B there is none."""
    router = DepthRouter(torch.tensor([0.0, 3.0, -3.0, 0.0]), 0)
    chooser = Chooser("time", 4, 3, 3, router)
    for share, learns in ((0.0, False), (1.0, True)):
        router.zero_grad()
        routes = chooser.routes(batch, dice(), probed_share=share)
        assert routes is not None
        assert routes.gate is not None
        assert routes.gate.tolist() == [[1, 1, 0, 1]] * 3
        evaluate(teacher.network, batch, routes=routes).velocity.square().sum().backward()
        bias = router.layers[-1].bias.grad
        assert bool(bias[1] != 0)
        assert bool(bias[2] != 0) == learns


@torch.no_grad()
def test_probing_does_not_change_what_comes_out(teacher: Wan, batch: Batch) -> None:
    chooser = Chooser("time", 4, 2, 3, DepthRouter(torch.tensor([0.0, 3.0, -3.0, 0.0]), 0))
    plain, probed = (
        evaluate(teacher.network, batch, routes=chooser.routes(batch, dice(), probed_share=share)).velocity
        for share in (0.0, 1.0)
    )
    assert torch.allclose(plain, probed, atol=1e-6)


@torch.no_grad()
def test_each_block_runs_its_rows_alone(teacher: Wan, batch: Batch, calls: dict[int, list[int]]) -> None:
    """Block 1 runs rows 0 and 2, block 2 nobody; and every row comes out as it would alone."""
    run = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 1]], dtype=torch.bool)
    together = evaluate(teacher.network, batch, routes=Routes(run, None)).velocity
    assert calls == {0: [3], 1: [2], 2: [], 3: [3]}
    for row in range(3):
        here = slice(row, row + 1)
        alone = Batch(batch.latents[here], batch.timestep[here], (batch.condition[0][here],), (), batch.grid)
        assert torch.equal(
            evaluate(teacher.network, alone, routes=Routes(run[here], None)).velocity, together[here]
        )


@torch.no_grad()
def test_all_blocks_on_is_the_teacher_exactly(teacher: Wan, batch: Batch) -> None:
    """K_min = K_max = N: the gate is 1 everywhere and changes nothing."""
    chooser = Chooser("content", 4, 4, 4, DepthRouter(torch.zeros(4), 8))
    routes = chooser.routes(batch, dice(), probed_share=1.0)
    assert torch.equal(
        evaluate(teacher.network, batch, routes=routes).velocity, evaluate(teacher.network, batch).velocity
    )


@pytest.mark.parametrize("kind", ["content", "time", "text", "random"])
def test_k_follows_each_row_s_noise(batch: Batch, kind: Any) -> None:
    router = None
    if kind != "random":
        channels, text = 8 * (kind != "time"), 64 * (kind == "text")
        router = DepthRouter(torch.randn(10, generator=dice()), channels, text)
    routes = Chooser(kind, 10, 4, 8.5, router).routes(batch, dice())
    assert routes is not None
    assert routes.run.sum(1).tolist() == [depth(float(sigma), 4, 8.5) for sigma in SIGMAS] == [9, 7, 4]
    assert routes.run[:, [0, -1]].all()
    assert (routes.gate is None) == (kind == "random")


def test_dice_differ_from_row_to_row_and_fixed_blocks_do_not(batch: Batch) -> None:
    random = Chooser("random", 10, 5, 5).routes(batch, dice())
    wanted = torch.tensor([1, 1, 0, 0, 1, 0, 0, 1, 0, 1], dtype=torch.bool)
    shape = router_shape(PareSettings(router="static"), None)
    assert shape is not None
    router = new_router(shape, fixed_logits(wanted))
    fixed = Chooser("static", 10, 5, 5, router).routes(batch, dice())
    assert random is not None
    assert fixed is not None
    assert len({tuple(row) for row in random.run.tolist()}) > 1
    assert fixed.run.tolist() == [wanted.tolist()] * 3
    assert Chooser("none", 10, 10, 10).routes(batch, dice()) is None


def test_depths_of_the_variants(teacher: Wan) -> None:
    """At shift 3 a run of 30 steps spends its time at high noise: 7 blocks of 10 in the mean."""
    scheduler = teacher.pipeline.scheduler
    assert depth_range(PareSettings(), 10, scheduler) == (4.0, 8.5)
    assert depth_range(PareSettings(), 40, scheduler) == (16.0, 34.0)
    assert depth_range(PareSettings(router="none"), 10, scheduler) == (10, 10)
    assert depth_range(PareSettings(router="static"), 10, scheduler) == (7, 7)


def test_a_router_starts_as_static_importance() -> None:
    """Blocks that change their input by 1, 4 and 1 parts, 2 in the mean: log .5, log 2, log .5."""
    logits = first_logits(torch.tensor([1.0, 4.0, 1.0]))
    assert logits.exp().tolist() == pytest.approx([0.5, 2.0, 0.5])


@torch.no_grad()
def test_the_best_fixed_blocks_keep_what_matters(teacher: Wan, source: ClipSource) -> None:
    """With one of the two inner blocks nearly silent, the other stays."""
    transformer = teacher.pipeline.transformer
    for quiet, kept in ((1, [True, False, True, True]), (2, [True, True, False, True])):
        attention, forward = transformer.blocks[quiet].attn2.to_out[0], transformer.blocks[quiet].ffn.net[2]
        own = transformer.blocks[quiet].attn1.to_out[0]
        saved = [(each, each.weight.clone(), each.bias.clone()) for each in (attention, forward, own)]
        for each, _, _ in saved:
            each.weight.zero_()
            each.bias.zero_()
        blocks = best_blocks(teacher.network, source, 3, shift=3.0, rows=2, seed=0)
        for each, weight, bias in saved:
            each.weight.copy_(weight)
            each.bias.copy_(bias)
        assert blocks.tolist() == kept


@torch.no_grad()
def test_the_pipeline_runs_exactly_k_blocks_at_every_step(teacher: Wan, calls: dict[int, list[int]]) -> None:
    """Two rows, 4 steps at sigma 1, .9, .75 and .5: 2 + 1.8 sigma rounds to 4, 4, 3 and 3 blocks."""
    transformer, pipeline = teacher.pipeline.transformer, teacher.pipeline
    chooser = Chooser("content", 4, 2, 3.8, DepthRouter(torch.tensor([0.0, 1.0, 0.5, 0.0]), 8))
    pipeline.transformer = RoutedTransformer(transformer, teacher.network, chooser)
    try:
        pipeline(
            ["a red apple", "a blue star"],
            height=32,
            width=32,
            num_frames=9,
            num_inference_steps=4,
            guidance_scale=1.0,
            max_sequence_length=24,
            output_type="latent",
        )
    finally:
        pipeline.transformer = transformer
    assert calls == {0: [2] * 4, 1: [2] * 4, 2: [2] * 2, 3: [2] * 4}


def test_pare_of_the_depths_is_one_the_engine_takes(teacher: Wan) -> None:
    least, most = depth_range(PareSettings(), 4, teacher.pipeline.scheduler)
    kept = {"self_heads": (0,), "cross_heads": (0,), "neurons": (0,)}
    assert Pare(teacher="", blocks=(kept,) * 4, least_blocks=least, most_blocks=most).most_blocks == 3.4
