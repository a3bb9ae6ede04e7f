"""The Wan adapter: diffusers' own forward, cut into embed, blocks and head; what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from protocol.methods import CACHES, DROPS, FEWER_STEPS
from tests.models.networks import assert_rows_are_isolated, assert_threads_change_nothing, evaluate
from workers.core import Batch, Grid
from workers.engine import Engine, self_test
from workers.models import load

DTYPES = ("float32", "bfloat16")
TIMESTEPS = (999.0, 812.0, 640.0, 333.0, 57.0)


def make_batch(model: Any, rows: int, *, height: int = 32, num_frames: int = 5) -> Batch:
    """Rows with noise, prompt and timestep of their own."""
    grid = model.grid(32, height, num_frames)
    conditions = [model.encode(f"{'two ' * row}blue dogs", 5.0) for row in range(rows)]
    noise = torch.randn((rows, *model.noise_shape(grid)[1:]), generator=torch.Generator().manual_seed(rows))
    return Batch(
        latents=model.pack(noise),
        timestep=torch.tensor(TIMESTEPS[:rows]),
        condition=(torch.cat([condition.tensors[0] for condition in conditions]),),
        scalars=(),
        grid=grid,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("height", "num_frames"), [(32, 1), (32, 5), (48, 9)])
@torch.inference_mode()
def test_embed_blocks_head_are_the_transformers_forward(
    load_wan: Callable[..., Any],
    wan_pipeline: Callable[..., Any],
    dtype: str,
    height: int,
    num_frames: int,
) -> None:
    model, transformer = load_wan("unipc", dtype), wan_pipeline("unipc", dtype).transformer
    batch = make_batch(model, 1, height=height, num_frames=num_frames)
    expected = transformer(
        hidden_states=batch.latents.to(model.dtype),
        timestep=batch.timestep.to(torch.int64),
        encoder_hidden_states=batch.condition[0],
        return_dict=False,
    )[0]
    assert torch.equal(evaluate(model, batch), expected)


@pytest.mark.parametrize(("dtype", "rows"), [("float32", 2), ("float32", 3), ("float32", 5), ("bfloat16", 3)])
@torch.inference_mode()
def test_rows_cannot_feel_each_other(load_wan: Callable[..., Any], dtype: str, rows: int) -> None:
    model = load_wan("unipc", dtype)
    assert_rows_are_isolated(model, make_batch(model, rows))


def test_the_self_test_passes(load_wan: Callable[..., Any]) -> None:
    self_test(load_wan())


@torch.inference_mode()
def test_two_threads_change_nothing(load_wan: Callable[..., Any]) -> None:
    model = load_wan()
    assert_threads_change_nothing(model, make_batch(model, 5))


@torch.inference_mode()
def test_signal_is_the_first_blocks_modulated_input(load_wan: Callable[..., Any]) -> None:
    model = load_wan()
    batch = make_batch(model, 2)
    seen: list[torch.Tensor] = []
    attention = model.pipeline.transformer.blocks[0].attn1
    handle = attention.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    stream = model.network.embed(batch, signal=True)
    model.network.block(0, stream)
    handle.remove()
    assert stream.signal is not None
    assert torch.equal(stream.signal, seen[-1])
    assert model.network.embed(batch).signal is None


def test_the_grid_is_counted_in_tokens(load_wan: Callable[..., Any]) -> None:
    """A latent cell is 4 pixels wide, a token 2 cells; the first frame is latent, then every two are."""
    model = load_wan()
    assert model.grid(48, 32, 9) == Grid(height=4, width=6, num_frames=5)
    assert model.grid(48, 32) == Grid(height=4, width=6, num_frames=1)
    assert model.noise_shape(Grid(4, 6, 5)) == (1, 4, 5, 8, 12)


def test_the_layout_counts_and_prices_blocks(load_wan: Callable[..., Any]) -> None:
    model = load_wan()
    layout = model.network.layout
    assert (layout.num_blocks, layout.max_lanes) == (3, 2)
    short, long = (layout.cost(model.grid(32, 32, count)) for count in (5, 9))
    assert len(short.blocks) == 3
    assert long.evaluation > short.evaluation


def test_weights_keep_their_names(load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any]) -> None:
    ours, theirs = load_wan().pipeline.transformer, wan_pipeline().transformer
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_forward_is_nobodys_but_diffusers(load_wan: Callable[..., Any]) -> None:
    from diffusers import WanTransformer3DModel

    transformer = load_wan().pipeline.transformer
    assert type(transformer) is WanTransformer3DModel
    assert all("forward" not in vars(module) for module in transformer.modules())


@torch.inference_mode()
def test_prompts_are_encoded_as_the_pipeline_does(
    load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any]
) -> None:
    for prompt in ("two blue dogs", "", "a red apple " * 40):
        (tensor,) = load_wan().encode(prompt, 5.0).tensors
        expected, _ = wan_pipeline().encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=16
        )
        assert torch.equal(tensor, expected)
        assert tensor.shape == (1, 16, 32)


def test_the_catalog_says_what_the_folder_can(load_wan: Callable[..., Any]) -> None:
    unipc, euler = load_wan("unipc").catalog, load_wan("euler").catalog
    assert (unipc.modality, unipc.family, unipc.fps) == ("video", "wan", 8.0)
    assert (unipc.solver, euler.solver) == ("unipc", "euler")
    assert (unipc.sizes.multiple, unipc.sizes.min_side) == (16, 32)
    assert list(unipc.frames.legal) == [1, 3, 5, 7, 9, 11, 13, 15, 17]
    assert (unipc.defaults.num_frames, unipc.defaults.guidance_scale) == (5, 5.0)
    assert {"num_frames", "negative_prompt"} <= set(unipc.input_fields)
    assert unipc.methods == (*FEWER_STEPS, *CACHES, *DROPS)
    assert (unipc.flow_shift, euler.flow_shift) == (3.0, 5.0)
    assert unipc.always_guided
    assert not unipc.embedded_guidance


@pytest.fixture
def copy(wan_root: Path, tmp_path: Path) -> Path:
    """A private copy of `unipc`."""
    return Path(shutil.copytree(wan_root / "unipc", tmp_path / "copy"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_without_rheostat_json_the_defaults_are_the_pipelines(copy: Path) -> None:
    """In latents 104 x 60 x 21, here 4 pixels and 2 frames each: 416 x 240 and 1 + 20 x 2."""
    (copy / "rheostat.json").unlink()
    entry = load(copy, dtype="float32").catalog
    assert entry.defaults.model_dump() == {
        "width": 416,
        "height": 240,
        "num_inference_steps": 50,
        "guidance_scale": 5.0,
        "num_frames": 41,
    }
    assert entry.frames is not None
    assert (entry.frames.max_frames, entry.fps) == (81, 16.0)


@pytest.mark.parametrize(
    ("file", "changes", "match"),
    [
        ("model_index.json", {"expand_timesteps": True}, "expand_timesteps"),
        ("model_index.json", {"boundary_ratio": 0.9}, "second transformer"),
        ("vae/config.json", {"scale_factor_spatial": 8}, "scale factors"),
        ("scheduler/scheduler_config.json", {"use_dynamic_shifting": True}, "use_dynamic_shifting"),
    ],
)
def test_what_would_not_run_as_the_pipeline_is_refused(
    copy: Path, file: str, changes: dict[str, Any], match: str
) -> None:
    edit(copy / file, **changes)
    with pytest.raises(ValueError, match=match):
        load(copy, dtype="float32")


def test_another_unipc_is_refused_by_the_engine(copy: Path) -> None:
    edit(copy / "scheduler" / "scheduler_config.json", solver_order=3)
    with pytest.raises(ValueError, match="solver_order 2 only"):
        Engine(load(copy, dtype="float32"))


@pytest.mark.parametrize(
    ("config", "match"), [({"ffn_dim": 80}, "ffn_dim 80"), ({"freq_dim": 32}, "half of freq_dim 16")]
)
def test_widths_that_share_a_register_are_refused(
    load_wan: Callable[..., Any], config: dict[str, int], match: str
) -> None:
    from workers.models.wan_network import WanNetwork

    model = load_wan()
    shapes = model.catalog.shapes
    narrow = shapes.model_copy(update={"transformer": shapes.transformer.model_copy(update=config)})
    with pytest.raises(ValueError, match=match):
        WanNetwork(model.pipeline.transformer, narrow)


@pytest.mark.parametrize(("dtype", "num_frames"), [("float32", 1), ("float32", 5), ("bfloat16", 3)])
@torch.inference_mode()
def test_decodes_as_the_pipeline(
    load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any], dtype: str, num_frames: int
) -> None:
    model, pipeline = load_wan("unipc", dtype), wan_pipeline("unipc", dtype)
    latents = make_batch(model, 1, num_frames=num_frames).latents
    frames = model.decode(latents, model.grid(32, 32, num_frames))
    (expected,) = pipeline(
        prompt="the sun",
        width=32,
        height=32,
        num_frames=num_frames,
        num_inference_steps=1,
        guidance_scale=1.0,
        callback_on_step_end=lambda *_: {"latents": latents},
        max_sequence_length=16,
        output_type="pil",
    ).frames
    assert (frames.shape, frames.dtype) == ((num_frames, 32, 32, 3), np.uint8)
    assert np.array_equal(frames, np.stack([np.asarray(image) for image in expected]))
