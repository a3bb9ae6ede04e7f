"""The memory model against the bytes that diffusers' modules keep alive, on the meta device.

Never below them by more than 2 %, never above by half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLWan, FluxTransformer2DModel, WanTransformer3DModel
from torch import Tensor

from protocol.catalog import CatalogEntry, InputDefaults, LengthLimits
from protocol.cost.memory import SampleMemory, sample_bytes, sample_memory
from protocol.sedd_shape import SeddShape, SeddShapes
from protocol.shapes import AutoencoderShape, FluxShapes, WanAutoencoderShape, WanShapes
from tests.protocol.counting import on_meta, peak_bytes
from tests.protocol.entries import (
    FLUX_DEV,
    FLUX_DEV_VAE,
    TINY_FLUX,
    WAN_1_3B,
    WAN_1_3B_TRANSFORMER,
    WAN_14B,
    WAN_14B_IMAGE,
    WAN_14B_IMAGE_TRANSFORMER,
    flux_dev_entry,
    flux_entry,
    request,
    text_entry,
    wan_entry,
    wan_image_entry,
)
from tests.protocol.test_cost_flux import forward as flux_forward
from tests.protocol.test_cost_wan import forward as wan_forward
from workers.models.sedd_modules import SEDD, SeddConfig
from workers.sampling.discrete import DiscreteSolver, read_given, read_settings, row_keys
from workers.sampling.discrete.predictors import PREDICTORS

LOW, HIGH = 0.98, 1.5
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@contextmanager
def building(dtype: str) -> Iterator[None]:
    """Meta tensors of `dtype`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[dtype])
    try:
        with on_meta():
            yield
    finally:
        torch.set_default_dtype(before)


def memory_of(entry: CatalogEntry, **given: Any) -> SampleMemory:
    return sample_memory(entry, request(entry, **given))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", [512, 1024])
@pytest.mark.filterwarnings("ignore:Mismatch dtype:UserWarning")
def test_flux_activations(dtype: str, side: int) -> None:
    """Two blocks of each kind suffice: a block's activations are freed before the next one's."""
    with building(dtype):
        model = FluxTransformer2DModel(guidance_embeds=True, num_layers=2, num_single_layers=2)
        measured = peak_bytes(flux_forward(model, 1, (side // 16) ** 2, 512))

    memory = memory_of(flux_dev_entry(dtype=dtype), width=side, height=side)

    assert LOW <= (memory.activations + memory.prompt) / measured <= HIGH


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shapes", "config"), [(WAN_1_3B, WAN_1_3B_TRANSFORMER), (WAN_14B, {})])
@pytest.mark.parametrize("frames", [1, 21])
@pytest.mark.filterwarnings("ignore:Mismatch dtype:UserWarning")
def test_wan_activations(dtype: str, shapes: WanShapes, config: dict[str, Any], frames: int) -> None:
    with building(dtype):
        model = WanTransformer3DModel(**{**config, "num_layers": 2})
        measured = peak_bytes(wan_forward(model, (frames, 60, 104), 512))

    memory = memory_of(wan_entry(shapes=shapes, dtype=dtype), num_frames=4 * frames - 3)

    assert LOW <= (memory.activations + memory.prompt) / measured <= HIGH


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "config",
    [
        FLUX_DEV_VAE,
        {"latent_channels": 8, "block_out_channels": [16, 32, 32], "norm_num_groups": 4},
        {"latent_channels": 8, "block_out_channels": [32, 32], "layers_per_block": 3},
    ],
)
def test_image_decode(dtype: str, config: dict[str, Any]) -> None:
    scales = len(config["block_out_channels"])
    with building(dtype):
        model = AutoencoderKL(
            **config,
            down_block_types=("DownEncoderBlock2D",) * scales,
            up_block_types=("UpDecoderBlock2D",) * scales,
        )
        measured = peak_bytes(decoding(model, config["latent_channels"], 64, 64))
    shapes = TINY_FLUX.model_copy(update={"autoencoder": AutoencoderShape.from_config(config)})
    side = 64 * shapes.spatial_factor

    assert LOW <= decode_bytes(shapes, dtype, side, side) / measured <= HIGH


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {
            "base_dim": 16,
            "z_dim": 8,
            "dim_mult": [1, 2, 2],
            "temperal_downsample": [False, True],
            "num_res_blocks": 1,
        },
        {"base_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1},
    ],
)
def test_video_decode(dtype: str, config: dict[str, Any], frames: int) -> None:
    shape = WanAutoencoderShape.from_config(config)
    with building(dtype):
        measured = peak_bytes(decoding(AutoencoderKLWan(**config), shape.z_dim, frames, 30, 52))
    shapes = WAN_1_3B.model_copy(update={"autoencoder": shape})
    num_frames = 1 + shape.temporal_factor * (frames - 1)

    decode = decode_bytes(shapes, dtype, 52 * shape.spatial_factor, 30 * shape.spatial_factor, num_frames)

    assert LOW <= decode / measured <= HIGH


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore:Mismatch dtype:UserWarning")
def test_wan_activations_beside_an_image(dtype: str) -> None:
    """257 tokens of it and 512 of text; the clip's known latents are there from the start."""
    with building(dtype):
        model = WanTransformer3DModel(**{**WAN_14B_IMAGE_TRANSFORMER, "num_layers": 2})
        image = torch.zeros(1, 257, 1280)
        measured = peak_bytes(wan_forward(model, (5, 60, 104), 512, image))

    memory = memory_of(wan_image_entry(dtype=dtype), num_frames=17, image="aGk=", guidance_scale=1.0)

    assert LOW <= (memory.activations + memory.prompt) / measured <= HIGH
    alone = memory_of(wan_entry(shapes=WAN_14B, dtype=dtype), num_frames=17)
    itemsize = 4 if dtype == "float32" else 2
    known = 20 * 5 * 60 * 104 + 257 * 1280
    assert memory.prompt - alone.prompt == itemsize * (known + 257 * 5120)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_encoding_a_clip_takes_less_than_decoding_it(dtype: str, frames: int) -> None:
    num_frames = 4 * frames - 3
    with building(dtype):
        model = AutoencoderKLWan()
        measured = peak_bytes(lambda: model.encode(torch.zeros(1, 3, num_frames, 240, 416)))

    assert measured <= decode_bytes(WAN_14B_IMAGE, dtype, 416, 240, num_frames)


def decoding(model: Any, *latents: int) -> Callable[[], object]:
    return lambda: model.decode(torch.zeros(1, *latents))


def decode_bytes(
    shapes: FluxShapes | WanShapes, dtype: str, width: int, height: int, num_frames: int | None = None
) -> int:
    make = flux_entry if isinstance(shapes, FluxShapes) else wan_entry
    entry = make(
        shapes=shapes,
        dtype=dtype,
        frames=None,
        sizes=make().sizes.model_copy(
            update={"multiple": 4, "min_side": 4, "max_side": 4096, "max_pixels": 4096**2}
        ),
        defaults=InputDefaults(width=width, height=height, num_inference_steps=4, num_frames=num_frames),
    )
    return memory_of(entry).decode


@pytest.mark.parametrize("dtype", DTYPES)
def test_sedd_activations(dtype: str) -> None:
    """A small vocabulary, so that a block is the widest; the published small network's width and length."""
    shape = SeddShape(tokens=64)
    with building(dtype):
        model = SEDD(SeddConfig(tokens=64, n_blocks=2))
        rotary, condition = model.rotary_emb(1024), torch.zeros(1, 128)
        tokens = torch.zeros(1, 1024, dtype=torch.int64)

        def blocks() -> Tensor:
            x = model.embed(tokens)
            for block in model.blocks:
                x = block(x, rotary, condition)
            return x

        measured = peak_bytes(blocks)
    entry = text_entry(
        shapes=SeddShapes(transformer=shape), dtype=dtype, lengths=LengthLimits(min_length=1, max_length=1024)
    )
    assert LOW <= memory_of(entry, length=1024).activations / measured <= HIGH


@pytest.mark.parametrize("sampler", ["blocks", "sync", "euler", "theta-trapezoidal"])
def test_a_sampler_s_step(sampler: str) -> None:
    """A large vocabulary, so that the step is the widest; with the output it is told, 4 bytes a value."""
    corrector, predictor = ("none", sampler) if sampler in PREDICTORS else (sampler, None)
    solver = DiscreteSolver(read_settings(64, 900, corrector, predictor, {}), 6)
    state = solver.start(row_keys([1]), read_given(None, 1, 64, 900))
    output, measured = torch.zeros(1, 64, 900), 0
    while solver.ask(state) is not None:
        measured = max(measured, peak_bytes(lambda: solver.tell(state, output.exp())))
    shape = SeddShape(tokens=900, hidden_size=32, n_heads=1)
    entry = text_entry(
        shapes=SeddShapes(transformer=shape), lengths=LengthLimits(min_length=1, max_length=64)
    )
    assert LOW <= memory_of(entry, length=64).activations / (measured + 64 * 900 * 4) <= HIGH


def test_latents_by_hand() -> None:
    """64 x 64 pixels: 8 channels of 16 x 16; four copies and one output a lane, float32."""
    latent = 8 * 16 * 16 * 4

    assert memory_of(flux_entry()).latents == 5 * latent
    assert memory_of(flux_entry(), negative_prompt="fog").latents == 6 * latent


def test_two_lanes_need_two_rows_but_one_decode() -> None:
    one, two = memory_of(flux_entry()), memory_of(flux_entry(), negative_prompt="fog", guidance_scale=3.0)

    assert two.activations == 2 * one.activations
    assert two.prompt == 2 * one.prompt
    assert two.decode == one.decode


def test_grows_with_size_and_frames_not_with_n_or_steps() -> None:
    flux, wan = flux_entry(), wan_entry()
    sizes = [
        sample_bytes(flux, request(flux, width=w, height=h))
        for w, h in ((32, 32), (32, 64), (64, 64), (128, 64))
    ]
    clips = [sample_bytes(wan, request(wan, num_frames=frames)) for frames in (1, 5, 21, 81)]

    assert sizes == sorted(set(sizes))
    assert clips == sorted(set(clips))
    assert sample_bytes(flux, request(flux, n=4, num_inference_steps=99)) == sample_bytes(flux, request(flux))


def test_a_card_holds_the_number_of_flux_dev_samples_one_would_expect() -> None:
    """bfloat16, 1024 x 1024: .54 GB of activations, 1.6 GB to decode (3 x 256 channels x 2 bytes a pixel)."""
    memory = memory_of(flux_dev_entry())

    assert memory.activations == pytest.approx(0.538e9, rel=0.02)
    assert memory.decode == pytest.approx(1.62e9, rel=0.02)
    assert memory.peak == memory.latents + memory.prompt + memory.decode
    assert FLUX_DEV.num_blocks == 57


def test_unknown_dtype() -> None:
    entry = flux_entry(dtype="float8")

    with pytest.raises(KeyError, match="float8"):
        sample_bytes(entry, request(entry))
