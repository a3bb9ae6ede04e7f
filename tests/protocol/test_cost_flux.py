from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel

from protocol.cost import denoiser_cost
from protocol.cost.flux import flux_cost
from protocol.shapes import FluxTransformerShape
from tests.protocol.counting import count_flop, on_meta
from tests.protocol.entries import FLUX_DEV

SMALL: dict[str, Any] = {
    "in_channels": 32,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 3,
    "joint_attention_dim": 48,
    "pooled_projection_dim": 40,
    "axes_dims_rope": (8, 12, 12),
}


def forward(
    model: FluxTransformer2DModel, rows: int, image_tokens: int, text_tokens: int
) -> Callable[[], object]:
    config = model.config
    return lambda: model(
        hidden_states=torch.zeros(rows, image_tokens, config.in_channels),
        encoder_hidden_states=torch.zeros(rows, text_tokens, config.joint_attention_dim),
        pooled_projections=torch.zeros(rows, config.pooled_projection_dim),
        timestep=torch.ones(rows),
        guidance=torch.ones(rows) if config.guidance_embeds else None,
        img_ids=torch.zeros(image_tokens, 3),
        txt_ids=torch.zeros(text_tokens, 3),
    )


@pytest.mark.parametrize(
    ("changes", "image_tokens", "text_tokens"),
    [
        ({}, 16, 7),
        ({"guidance_embeds": True}, 64, 24),
        (
            {
                "num_layers": 0,
                "num_attention_heads": 5,
                "attention_head_dim": 16,
                "axes_dims_rope": (4, 6, 6),
            },
            33,
            9,
        ),
        (
            {"num_single_layers": 0, "out_channels": 12, "joint_attention_dim": 100, "guidance_embeds": True},
            96,
            1,
        ),
    ],
)
def test_torch_counts_the_same(changes: dict[str, Any], image_tokens: int, text_tokens: int) -> None:
    model = FluxTransformer2DModel(**{**SMALL, **changes})
    shape = FluxTransformerShape.from_config(model.config)

    cost = flux_cost(shape, image_tokens=image_tokens, text_tokens=text_tokens)

    assert cost.evaluation == count_flop(forward(model, 1, image_tokens, text_tokens))
    assert 3 * cost.evaluation == count_flop(forward(model, 3, image_tokens, text_tokens))
    assert len(cost.blocks) == shape.num_blocks


def test_attention_is_counted() -> None:
    """FlopCounterMode alone counts 0 for attention on a CPU, and both sides would agree on too little."""
    query = torch.zeros(1, 2, 5, 8)

    counted = count_flop(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query))

    assert counted == 2 * 2 * (
        2 * 5 * 5 * 8
    )  # scores and weighted sum, 2 heads, 2 FLOP a multiply-accumulate


def test_parts_are_where_the_engine_runs_them() -> None:
    """Part by part, not only in sum: routers and caches are billed by embed, blocks and head."""
    model = FluxTransformer2DModel(**SMALL)
    cost = flux_cost(FluxTransformerShape.from_config(model.config), image_tokens=16, text_tokens=7)
    temb = torch.zeros(1, 96)
    text, image, rotary = torch.zeros(1, 7, 96), torch.zeros(1, 16, 96), (torch.zeros(23, 32),) * 2

    for index, block in enumerate((*model.transformer_blocks, *model.single_transformer_blocks)):
        assert cost.blocks[index] == count_flop(partial(block, image, text, temb, rotary))
    assert cost.head == count_flop(lambda: model.proj_out(model.norm_out(image, temb)))
    assert cost.embed == count_flop(
        lambda: (
            model.x_embedder(torch.zeros(1, 16, 32)),
            model.context_embedder(torch.zeros(1, 7, 48)),
            model.time_text_embed(torch.ones(1), torch.zeros(1, 40)),
        )
    )


def test_flux_dev_at_1024_costs_what_the_papers_count() -> None:
    """SoftCap's table: 3719.50 TFLOPs for 50 full steps, 74.39 a step; without attention 59.5."""
    cost = denoiser_cost(FLUX_DEV, width=1024, height=1024)

    assert cost.evaluation == 74_384_653_418_496
    assert cost.evaluation / 1e12 == pytest.approx(3719.50 / 50, rel=1e-4)
    attention = 57 * 4 * (4096 + 512) ** 2 * 3072
    assert (cost.evaluation - attention) / 1e12 == pytest.approx(59.5, abs=0.05)


def test_flux_dev_itself_counts_the_same() -> None:
    """The real model, on the meta device: all of its 12 billion weights, none of the memory."""
    with on_meta():
        counted = count_flop(forward(FluxTransformer2DModel(guidance_embeds=True), 1, 4096, 512))

    assert denoiser_cost(FLUX_DEV, width=1024, height=1024).evaluation == counted
