from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLWan
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from protocol.cost import decode_cost, encode_cost, text_cost
from protocol.cost.autoencoder import (
    decode_image_cost,
    decode_video_cost,
    encode_image_cost,
    encode_video_cost,
)
from protocol.cost.text import clip_cost, clip_image_cost, t5_cost
from protocol.encoder_shapes import ClipImageShape, ClipTextShape, T5Shape
from protocol.shapes import AutoencoderShape, WanAutoencoderShape
from tests.protocol.counting import count_flop, on_meta
from tests.protocol.entries import FLUX_DEV, FLUX_DEV_VAE, TINY_FLUX, WAN_1_3B

CLIP = {
    "vocab_size": 100,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
}
T5 = {"vocab_size": 100, "d_model": 40, "d_kv": 12, "d_ff": 72, "num_layers": 3, "num_heads": 5}


@pytest.mark.parametrize("tokens", [77, 13])
def test_clip(tokens: int) -> None:
    config = CLIPTextConfig(**CLIP)
    model = CLIPTextModel(config)
    ids = torch.zeros(1, tokens, dtype=torch.long)

    assert clip_cost(ClipTextShape.from_config(config.to_dict(), tokens=tokens)) == count_flop(
        lambda: model(ids)
    )


@pytest.mark.parametrize(("image_size", "patch_size", "tokens"), [(32, 8, 17), (30, 8, 10), (28, 14, 5)])
def test_clip_s_vision(image_size: int, patch_size: int, tokens: int) -> None:
    """A side of 30 holds three whole patches of 8."""
    given = {**CLIP, "image_size": image_size, "patch_size": patch_size}
    config = CLIPVisionConfig(**{key: value for key, value in given.items() if key != "vocab_size"})
    model, pixels = CLIPVisionModel(config), torch.zeros(1, 3, image_size, image_size)
    shape = ClipImageShape.from_config(config.to_dict())

    assert shape.tokens == tokens
    assert clip_image_cost(shape) == count_flop(lambda: model(pixels))


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_t5(feed_forward: str) -> None:
    config = T5Config(**T5, feed_forward_proj=feed_forward)
    model = T5EncoderModel(config)
    ids = torch.zeros(1, 24, dtype=torch.long)

    assert t5_cost(T5Shape.from_config(config.to_dict(), tokens=24)) == count_flop(lambda: model(ids))


def test_umt5() -> None:
    config = UMT5Config(**T5)
    model = UMT5EncoderModel(config)
    ids = torch.zeros(1, 24, dtype=torch.long)

    assert t5_cost(T5Shape.from_config(config.to_dict(), tokens=24)) == count_flop(lambda: model(ids))


def test_text_cost_adds_the_family_s_encoders() -> None:
    assert text_cost(TINY_FLUX) == clip_cost(TINY_FLUX.clip) + t5_cost(TINY_FLUX.t5)
    assert text_cost(WAN_1_3B) == t5_cost(WAN_1_3B.umt5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mid_block_add_attention": False, "use_quant_conv": False, "use_post_quant_conv": False},
        {"block_out_channels": (8, 12, 24), "layers_per_block": 2, "latent_channels": 3},
    ],
)
def test_image_autoencoder(changes: dict[str, Any]) -> None:
    config = {"latent_channels": 8, "block_out_channels": (16, 32, 32), "norm_num_groups": 4, **changes}
    scales = len(config["block_out_channels"])
    model = AutoencoderKL(
        **config,
        down_block_types=("DownEncoderBlock2D",) * scales,
        up_block_types=("UpDecoderBlock2D",) * scales,
    )
    shape = AutoencoderShape.from_config(model.config)
    latents = torch.zeros(1, shape.latent_channels, 6, 8)

    assert decode_image_cost(shape, (1, 6, 8)) == count_flop(lambda: model.decode(latents))
    pixels = torch.zeros(1, 3, 24, 32)
    assert encode_image_cost(shape, width=32, height=24) == count_flop(lambda: model.encode(pixels))


def test_flux_dev_s_own_decoder_at_1024() -> None:
    with on_meta():
        model = AutoencoderKL(
            **FLUX_DEV_VAE,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
        latents, pixels = torch.zeros(1, 16, 128, 128), torch.zeros(1, 3, 1024, 1024)
        decoded, encoded = count_flop(lambda: model.decode(latents)), count_flop(lambda: model.encode(pixels))

    assert decode_cost(FLUX_DEV, width=1024, height=1024) == decoded
    assert encode_cost(FLUX_DEV, width=1024, height=1024) == encoded


@pytest.mark.parametrize(
    ("changes", "latents"),
    [
        ({}, (1, 4, 4)),
        ({}, (4, 4, 6)),
        ({"dim_mult": [1, 2, 2], "temperal_downsample": [True, False], "num_res_blocks": 2}, (3, 8, 8)),
        ({"dim_mult": [1, 2, 2], "temperal_downsample": [False, True], "decoder_base_dim": 8}, (5, 8, 8)),
    ],
)
def test_video_autoencoder(changes: dict[str, Any], latents: tuple[int, int, int]) -> None:
    model = AutoencoderKLWan(
        **{"base_dim": 16, "z_dim": 8, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1, **changes}
    )
    shape = WanAutoencoderShape.from_config(model.config)

    assert decode_video_cost(shape, latents) == count_flop(lambda: model.decode(torch.zeros(1, 8, *latents)))


@pytest.mark.parametrize(
    ("changes", "num_frames"),
    [
        ({}, 1),
        ({}, 9),
        ({"dim_mult": [1, 2, 2], "temperal_downsample": [True, False], "num_res_blocks": 2}, 9),
        ({"dim_mult": [1, 2, 2], "temperal_downsample": [True, True]}, 5),
    ],
)
def test_video_autoencoder_encodes(changes: dict[str, Any], num_frames: int) -> None:
    model = AutoencoderKLWan(
        **{"base_dim": 16, "z_dim": 8, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1, **changes}
    )
    shape, pixels = WanAutoencoderShape.from_config(model.config), torch.zeros(1, 3, num_frames, 16, 24)

    cost = encode_video_cost(shape, width=24, height=16, num_frames=num_frames)

    assert cost == count_flop(lambda: model.encode(pixels))


def test_wan_s_own_decoder_at_480p() -> None:
    """Two latent frames at full size; every later frame costs as much as the second."""
    with on_meta():
        model = AutoencoderKLWan()
        one, two = torch.zeros(1, 16, 1, 60, 104), torch.zeros(1, 16, 2, 60, 104)
        frame_counts = {1: count_flop(lambda: model.decode(one)), 2: count_flop(lambda: model.decode(two))}

    for frames, counted in frame_counts.items():
        assert decode_cost(WAN_1_3B, width=832, height=480, num_frames=1 + 4 * (frames - 1)) == counted
    later = frame_counts[2] - frame_counts[1]
    assert decode_cost(WAN_1_3B, width=832, height=480, num_frames=81) == frame_counts[1] + 20 * later
