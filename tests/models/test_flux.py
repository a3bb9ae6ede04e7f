"""The FLUX adapter: diffusers' own forward, cut into embed, blocks and head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.models.networks import assert_rows_are_isolated, assert_threads_change_nothing, evaluate
from workers.core import Batch, Stream


def make_batch(model: Any, rows: int, side: int = 64) -> Batch:
    """Rows with noise, prompt, timestep and guidance of their own."""
    grid = model.grid(side, side)
    conditions = [model.encode(f"{row} red apple", 1.0 + row) for row in range(rows)]
    generator = torch.Generator().manual_seed(rows)
    noise = torch.randn((rows, *model.noise_shape(grid)[1:]), generator=generator).to(model.dtype)
    return Batch(
        latents=model.pack(noise),
        timestep=torch.linspace(1000.0, 137.5, rows),
        condition=tuple(
            torch.cat(parts) for parts in zip(*(each.tensors for each in conditions), strict=True)
        ),
        scalars=tuple(
            torch.tensor(column) for column in zip(*(each.scalars for each in conditions), strict=True)
        ),
        grid=grid,
    )


@pytest.mark.parametrize("name", ["plain", "distilled"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.inference_mode()
def test_embed_blocks_head_are_the_transformers_forward(
    load_flux: Callable[..., Any], reference_pipeline: Callable[..., Any], name: str, dtype: str
) -> None:
    model, pipeline = load_flux(name, dtype), reference_pipeline(name, dtype)
    batch = make_batch(model, 1)
    (guidance,) = batch.scalars or (None,)
    expected = pipeline.transformer(
        hidden_states=batch.latents,
        timestep=batch.timestep.to(model.dtype) / 1000,
        guidance=guidance,
        encoder_hidden_states=batch.condition[0],
        pooled_projections=batch.condition[1],
        txt_ids=torch.zeros(16, 3, dtype=model.dtype),
        img_ids=pipeline._prepare_latent_image_ids(
            1, batch.grid.height, batch.grid.width, "cpu", model.dtype
        ),
        return_dict=False,
    )[0]
    assert torch.equal(evaluate(model, batch), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rows", [2, 3, 5, 7, 8])
@torch.inference_mode()
def test_rows_cannot_feel_each_other(load_flux: Callable[..., Any], dtype: str, rows: int) -> None:
    model = load_flux("distilled", dtype)
    assert_rows_are_isolated(model, make_batch(model, rows))


@torch.inference_mode()
def test_two_threads_change_nothing(load_flux: Callable[..., Any]) -> None:
    model = load_flux("plain")
    assert_threads_change_nothing(model, make_batch(model, 5))


@torch.inference_mode()
def test_signal_is_the_first_blocks_modulated_input(load_flux: Callable[..., Any]) -> None:
    model = load_flux("plain")
    batch = make_batch(model, 2)
    seen: list[torch.Tensor] = []
    norm = model.pipeline.transformer.transformer_blocks[0].norm1
    handle = norm.register_forward_hook(lambda _module, _args, output: seen.append(output[0]))
    stream: Stream = model.network.embed(batch, signal=True)
    model.network.block(0, stream)
    handle.remove()
    assert stream.signal is not None
    assert torch.equal(stream.signal, seen[-1])
    assert model.network.embed(batch).signal is None


def test_the_layout_counts_and_prices_blocks(load_flux: Callable[..., Any]) -> None:
    plain, distilled = load_flux("plain"), load_flux("distilled")
    assert (plain.network.layout.num_blocks, distilled.network.layout.num_blocks) == (3, 4)
    assert (plain.network.layout.max_lanes, distilled.network.layout.max_lanes) == (2, 1)
    cost = plain.network.layout.cost(plain.grid(64, 64))
    assert len(cost.blocks) == 3
    assert plain.network.layout.cost(plain.grid(96, 64)).evaluation > cost.evaluation


def test_weights_keep_their_names(
    load_flux: Callable[..., Any], reference_pipeline: Callable[..., Any]
) -> None:
    ours, theirs = load_flux("plain").pipeline.transformer, reference_pipeline("plain").transformer
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_forward_is_nobodys_but_diffusers(load_flux: Callable[..., Any]) -> None:
    from diffusers import FluxTransformer2DModel

    transformer = load_flux("plain").pipeline.transformer
    assert type(transformer) is FluxTransformer2DModel
    assert all("forward" not in vars(module) for module in transformer.modules())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.inference_mode()
def test_decodes_as_the_pipeline(
    load_flux: Callable[..., Any], reference_pipeline: Callable[..., Any], dtype: str
) -> None:
    model, pipeline = load_flux("plain", dtype), reference_pipeline("plain", dtype)
    latents = make_batch(model, 1, side=48).latents
    vae = pipeline.vae
    unpacked = pipeline._unpack_latents(latents, 48, 48, pipeline.vae_scale_factor)
    pixels = vae.decode(unpacked / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
    expected = pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
    image = model.decode(latents, model.grid(48, 48))
    assert image.size == (48, 48)
    assert image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["plain", "distilled"])
@torch.inference_mode()
def test_a_long_prompt_is_cut_and_does_not_reach_the_log(
    load_flux: Callable[..., Any], capfd: pytest.CaptureFixture[str], name: str
) -> None:
    condition = load_flux(name).encode("a red apple " * 100 + "secret", 3.5)
    assert condition.tensors[0].shape == (1, 16, 32)
    assert condition.scalars == (() if name == "plain" else (3.5,))
    captured = capfd.readouterr()
    assert "secret" not in captured.out + captured.err
    assert "truncated" not in captured.err
