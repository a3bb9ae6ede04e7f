from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel

from protocol.cost import denoiser_cost, own_cost
from protocol.cost.wan import wan_cost
from protocol.shapes import WanTransformerShape
from tests.protocol.counting import count_flop, on_meta
from tests.protocol.entries import WAN_1_3B, WAN_1_3B_TRANSFORMER, WAN_14B
from workers.models.pare import KeptBlock, Pare, narrow

SMALL: dict[str, Any] = {
    "num_attention_heads": 3,
    "attention_head_dim": 16,
    "in_channels": 8,
    "out_channels": 8,
    "text_dim": 40,
    "ffn_dim": 72,
    "num_layers": 3,
}
IMAGE_TO_VIDEO: dict[str, Any] = {**SMALL, "in_channels": 20, "image_dim": 56, "added_kv_proj_dim": 48}


def forward(
    model: WanTransformer3DModel,
    latents: tuple[int, int, int],
    text_tokens: int,
    image: torch.Tensor | None = None,
) -> Callable[[], object]:
    config = model.config
    return lambda: model(
        hidden_states=torch.zeros(1, config.in_channels, *latents),
        timestep=torch.ones(1),
        encoder_hidden_states=torch.zeros(1, text_tokens, config.text_dim),
        encoder_hidden_states_image=image,
    )


@pytest.mark.parametrize(
    ("changes", "latents", "text_tokens"),
    [
        ({}, (1, 8, 8), 24),
        ({"num_attention_heads": 5, "out_channels": 6, "freq_dim": 64}, (3, 6, 10), 13),
        ({"patch_size": (2, 2, 2)}, (4, 8, 4), 7),
    ],
)
def test_torch_counts_the_same(
    changes: dict[str, Any], latents: tuple[int, int, int], text_tokens: int
) -> None:
    model = WanTransformer3DModel(**{**SMALL, **changes})
    shape = WanTransformerShape.from_config(model.config)
    video_tokens = 1
    for cells, patch in zip(latents, shape.patch_size, strict=True):
        video_tokens *= cells // patch

    cost = wan_cost(shape, video_tokens=video_tokens, text_tokens=text_tokens)

    assert cost.evaluation == count_flop(forward(model, latents, text_tokens))
    assert len(cost.blocks) == shape.num_layers


@pytest.mark.parametrize(("pos_embed_seq_len", "image_tokens"), [(None, 257), (514, 514)])
def test_image_to_video_counts_the_image(pos_embed_seq_len: int | None, image_tokens: int) -> None:
    """diffusers takes the last 512 tokens for text here; first-and-last-frame has two images."""
    model = WanTransformer3DModel(**IMAGE_TO_VIDEO, pos_embed_seq_len=pos_embed_seq_len)
    shape = WanTransformerShape.from_config(model.config)
    frames = 2 if pos_embed_seq_len else 1
    image = torch.zeros(frames, image_tokens // frames, 56)

    counted = count_flop(forward(model, (1, 8, 8), 512, image))

    assert wan_cost(shape, video_tokens=16, text_tokens=512).evaluation == counted


def test_wan_1_3b_at_480p_itself_counts_the_same() -> None:
    with on_meta():
        counted = count_flop(forward(WanTransformer3DModel(**WAN_1_3B_TRANSFORMER), (21, 60, 104), 512))

    assert denoiser_cost(WAN_1_3B, width=832, height=480, num_frames=81).evaluation == counted


@pytest.mark.parametrize(("self_heads", "cross_heads", "neurons"), [(2, 1, 32), (1, 3, 72), (3, 3, 72)])
def test_torch_counts_the_same_of_what_pare_leaves(self_heads: int, cross_heads: int, neurons: int) -> None:
    kept = KeptBlock(
        self_heads=tuple(range(self_heads)),
        cross_heads=tuple(range(cross_heads)),
        neurons=tuple(range(neurons)),
    )
    pare = Pare(teacher="", blocks=(kept,) * 3, least_blocks=2, most_blocks=3)
    model = narrow(WanTransformer3DModel(**SMALL), pare)
    shape = WanTransformerShape.from_config(model.config)

    cost = wan_cost(shape, video_tokens=48, text_tokens=13, pare=pare.shape)

    assert cost.evaluation == count_flop(forward(model, (3, 8, 8), 13))
    full = wan_cost(shape, video_tokens=48, text_tokens=13)
    assert (cost.embed, cost.head) == (full.embed, full.head)
    assert (cost == full) == (self_heads == cross_heads == 3)


def test_own_cost_is_that_of_wan_14b_s_blocks_at_the_papers_widths() -> None:
    """28 of 40 heads and 9,728 of 13,824 neurons: .7 of the attention, .704 of the feed-forward.

    Counted by torch on two of its 40 blocks; full compute stays what the unpruned ones cost.
    """
    kept = KeptBlock(self_heads=tuple(range(28)), cross_heads=tuple(range(28)), neurons=tuple(range(9728)))
    pare = Pare(teacher="", blocks=(kept,) * 2, least_blocks=2, most_blocks=2)
    with on_meta():
        model = narrow(WanTransformer3DModel(num_layers=2), pare)
        counted = count_flop(forward(model, (21, 60, 104), 512))
    two = WAN_14B.transformer.model_copy(update={"num_layers": 2})
    shapes = WAN_14B.model_copy(update={"transformer": two, "pare": pare.shape})
    size = {"width": 832, "height": 480, "num_frames": 81}

    own, full = own_cost(shapes, **size), denoiser_cost(shapes, **size)

    assert own.evaluation == counted
    assert full.blocks == denoiser_cost(WAN_14B, **size).blocks[:2]
    assert own.blocks[0] / full.blocks[0] == pytest.approx(0.701, abs=1e-3)


def test_public_sizes_at_81_frames_480p() -> None:
    """21 x 30 x 52 = 32,760 tokens; by hand from the public configs, embed and head neglected.

    1.3B: D 1536, 30 blocks: 30 x (16 N D^2 + 4 N^2 D + 4 N D F) and 2 x 512-token keys: about 283 TFLOPs.
    14B: D 5120, F 13824, 40 blocks: about 1,678 TFLOPs.
    """
    for shapes, dim, ffn, blocks, tflops in (
        (WAN_1_3B, 1536, 8960, 30, 283.0),
        (WAN_14B, 5120, 13824, 40, 1678.4),
    ):
        tokens = 32_760
        own = 8 * tokens * dim**2 + 4 * tokens**2 * dim
        cross = 4 * tokens * dim**2 + 4 * 512 * dim**2 + 4 * tokens * 512 * dim
        by_hand = blocks * (own + cross + 4 * tokens * dim * ffn)

        evaluation = denoiser_cost(shapes, width=832, height=480, num_frames=81).evaluation

        assert evaluation == pytest.approx(by_hand, rel=2e-3)
        assert evaluation / 1e12 == pytest.approx(tflops, rel=1e-3)
