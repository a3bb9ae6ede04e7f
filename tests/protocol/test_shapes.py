from __future__ import annotations

import json
from typing import Any

import pytest
from diffusers import AutoencoderKL, AutoencoderKLWan, FluxTransformer2DModel, WanTransformer3DModel
from pydantic import TypeAdapter, ValidationError
from transformers import CLIPTextConfig, T5Config, UMT5Config

from protocol.shapes import (
    AutoencoderShape,
    ClipTextShape,
    FluxShapes,
    FluxTransformerShape,
    ModelShapes,
    T5Shape,
    WanAutoencoderShape,
    WanShapes,
    WanTransformerShape,
)
from tests.protocol.counting import on_meta
from tests.protocol.entries import FLUX_DEV, TINY_FLUX, WAN_14B


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        (FluxTransformerShape, FluxTransformer2DModel),
        (WanTransformerShape, WanTransformer3DModel),
        (AutoencoderShape, AutoencoderKL),
        (WanAutoencoderShape, AutoencoderKLWan),
    ],
)
def test_defaults_are_diffusers_own(shape: Any, model: Any) -> None:
    """A config.json may leave out what it has at the default; older ones lack newer keys.

    How many tokens an image has stands in its encoder's config.
    """
    with on_meta():
        own = model().config

    assert shape.from_config({}) == shape.from_config(own)
    assert set(shape.model_fields) - {"image_tokens"} <= set(own)


@pytest.mark.parametrize(
    ("shape", "config"), [(ClipTextShape, CLIPTextConfig()), (T5Shape, T5Config()), (T5Shape, UMT5Config())]
)
def test_defaults_are_transformers_own(shape: Any, config: Any) -> None:
    saved = json.loads(config.to_json_string(use_diff=True))

    assert shape.from_config(saved, tokens=77) == shape.from_config(config.to_dict(), tokens=77)
    assert shape.from_config({"model_type": config.model_type}, tokens=77) == shape.from_config(
        saved, tokens=77
    )


def test_from_configs_takes_what_a_folder_holds() -> None:
    assert TINY_FLUX.transformer.inner_dim == 6 * 32
    assert TINY_FLUX.num_blocks == 8
    assert TINY_FLUX.text_tokens == 24
    assert TINY_FLUX.latent_channels == 8
    assert TINY_FLUX.spatial_factor == 4
    assert TINY_FLUX.clip.tokens == 77
    assert WAN_14B.umt5.gated
    assert not TINY_FLUX.t5.gated


def test_text_is_capped_where_the_pipelines_cap_it() -> None:
    assert FluxShapes.from_configs({}, {}, {}, {}, text_tokens=10**9).text_tokens == 512
    assert WanShapes.from_configs({}, {}, {}).text_tokens == 512


def test_flux_tokens() -> None:
    # 1024 / 8 = 128 latent cells a side, 2 x 2 of them a token
    assert FLUX_DEV.image_tokens(1024, 1024) == 64 * 64
    assert FLUX_DEV.latent_grid(1024, 512) == (1, 64, 128)
    assert FLUX_DEV.size_multiple == 16
    assert TINY_FLUX.image_tokens(64, 64) == 8 * 8
    assert TINY_FLUX.image_tokens(128, 32) == 16 * 4


def test_wan_tokens() -> None:
    # 81 frames are 1 + 20 x 4: 21 latent frames; 480 / 16 = 30 and 832 / 16 = 52 patches
    assert WAN_14B.latent_grid(832, 480, 81) == (21, 60, 104)
    assert WAN_14B.image_tokens(832, 480, 81) == 21 * 30 * 52
    assert WAN_14B.image_tokens(832, 480) == 30 * 52
    assert WAN_14B.size_multiple == 16


@pytest.mark.parametrize("shapes", [TINY_FLUX, WAN_14B])
def test_json_round_trip_by_family(shapes: FluxShapes | WanShapes) -> None:
    adapter: TypeAdapter[ModelShapes] = TypeAdapter(ModelShapes)

    assert adapter.validate_json(adapter.dump_json(shapes)) == shapes


def test_unknown_family_is_refused() -> None:
    with pytest.raises(ValidationError, match="family"):
        TypeAdapter(ModelShapes).validate_python({"family": "sd15"})


@pytest.mark.parametrize(
    "config",
    [
        {"is_residual": True},
        {"patch_size": 2},
        {"dim_mult": [1, 2, 4]},
        {"base_dim": 0},
    ],
)
def test_an_autoencoder_we_cannot_price_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WanAutoencoderShape.from_config(config)


def test_other_block_types_are_refused() -> None:
    with pytest.raises(ValidationError):
        AutoencoderShape.from_config({"up_block_types": ["AttnUpDecoderBlock2D"]})
