"""The image-to-video adapter: what it adds to Wan's, and the folders it refuses."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.clips import picture
from tests.models.test_wan import edit
from workers.engine import Engine, self_test
from workers.meter import Meter
from workers.models import StartsFromImage, encode_lanes, load
from workers.speed import Speedometer
from workers.warmup import warm_up


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_self_test_passes(load_wan: Callable[..., Any], dtype: str) -> None:
    """In bfloat16 it fails if a block's Linears see the sliced contexts of all rows at once."""
    self_test(load_wan("image", dtype))


def test_a_worker_warms_it_up(load_wan: Callable[..., Any]) -> None:
    """Three evaluations from a grey image; the first says nothing about speed."""
    model, speed = load_wan("image"), Speedometer()
    inlet, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with inlet, outlet:
        warm_up(Engine(model), [model.catalog], Meter(outlet), speed)
    assert speed.slowest() > 0


def test_only_those_that_start_from_an_image_say_so(load_wan: Callable[..., Any]) -> None:
    image, plain = load_wan("image"), load_wan("unipc")
    assert isinstance(image, StartsFromImage)
    assert not isinstance(plain, StartsFromImage)
    assert image.catalog.required_fields == ("image",)
    assert set(image.catalog.input_fields) == {*plain.catalog.input_fields, "image"}
    assert plain.catalog.required_fields == ()


def test_the_catalog_says_what_the_folder_can(load_wan: Callable[..., Any]) -> None:
    """Four frames a latent one; 4 channels of latents, 4 of the image's and 4 of its mask."""
    model = load_wan("image")
    entry = model.catalog
    assert (entry.family, entry.modality, entry.shapes.image_encoder.tokens) == ("wan", "video", 17)
    assert (entry.shapes.transformer.image_context_tokens, entry.shapes.text_tokens) == (17, 512)
    assert list(entry.frames.legal) == [1, 5, 9, 13, 17]
    assert entry.shapes.image_channels == 8
    assert model.noise_shape(model.grid(32, 48, 9)) == (1, 4, 3, 12, 8)


@torch.inference_mode()
def test_lanes_share_the_image(load_wan: Callable[..., Any]) -> None:
    """The mask, four frames deep, is 1 where a frame is given: in the first latent frame."""
    model = load_wan("image")
    grid = model.grid(32, 48, 9)
    lanes = encode_lanes(model, ["the sun", ""], 5.0, picture(), grid)
    assert [tensor.shape for tensor in lanes[0].tensors] == [(1, 512, 32), (1, 17, 32), (1, 3, 12, 8, 8)]
    assert lanes[0].tensors[1:] == lanes[1].tensors[1:]
    mask = lanes[0].tensors[2][..., :4]
    assert bool((mask[:, 0] == 1).all())
    assert bool((mask[:, 1:] == 0).all())


@pytest.fixture
def copy(wan_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(wan_root / "image", tmp_path / "copy"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"expand_timesteps": True}, "expand_timesteps"),
        ({"boundary_ratio": 0.9}, "second transformer"),
        ({"image_encoder": [None, None], "image_processor": [None, None]}, "no image_encoder"),
    ],
)
def test_other_pipelines_are_refused(copy: Path, changes: dict[str, Any], match: str) -> None:
    """Wan 2.2 has no image encoder, or a second transformer."""
    if "image_encoder" in changes:
        shutil.rmtree(copy / "image_encoder")
    edit(copy / "model_index.json", **changes)
    with pytest.raises(ValueError, match=match):
        load(copy, dtype="float32")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image_dim": None}, "image_dim"),
        ({"added_kv_proj_dim": None}, "added_kv_proj_dim"),
        ({"pos_embed_seq_len": 34}, "first and last frame"),
        ({"in_channels": 8}, "in_channels"),
    ],
)
def test_transformers_of_another_kind_are_refused(
    load_wan: Callable[..., Any], changes: dict[str, Any], match: str
) -> None:
    from workers.models.wan_image import WanImage

    model, other = load_wan("image"), object.__new__(WanImage)
    shapes = model.catalog.shapes
    transformer = shapes.transformer.model_copy(update=changes)
    other.pipeline = model.pipeline
    other._shapes = shapes.model_copy(update={"transformer": transformer})
    with pytest.raises(ValueError, match=match):
        other._refuse_other_kinds()


def test_text_to_video_takes_no_image_to_video_transformer(copy: Path) -> None:
    edit(copy / "model_index.json", _class_name="WanPipeline")
    with pytest.raises(ValueError, match="image to video"):
        load(copy, dtype="float32")
