"""What a worker does before it is ready: prove row isolation on this machine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from workers.core import Batch, Condition, Grid, Network
from workers.models import LoadedModel, Model, TokenModel, encode_lanes, picture_model

_BATCHES = (2, 3, 5)
_TOLERANCE = 2e-2
"""Relative to the largest output; on a GPU, among ranks or in compiled blocks kernels are picked by size."""
_SIGMAS = (1.0, 0.73, 0.41, 0.2, 0.05)
_IMAGE_SIDE = 64


class NotIsolated(RuntimeError):
    """A row's output depends on its company here. A worker that finds this is unfit."""


@torch.inference_mode()
def self_test(model: LoadedModel) -> None:
    """Run one evaluation of five different rows alone and together, at the smallest size, on all weights.

    Raises:
        NotIsolated: outputs differ by a bit (where bits are not promised: by more than the tolerance).
    """
    rows = [_row(model, index) for index in range(max(_BATCHES))]
    named = f"{model.name} {model.catalog.dtype}"
    same = torch.equal if _is_exact(model) else _close
    for which, network in {named: model.network, **_variants(model, named)}.items():
        _test(which, network, rows, same)
    for lora in model.catalog.loras:
        model.use_lora(lora)
        _test(f"{named} {lora}", model.network, rows, same)
    model.use_lora(None)


def _variants(model: LoadedModel, named: str) -> dict[str, Network]:
    return {f"{named} {name}": variant.network for name, variant in model.variants.items()}


def _is_exact(model: LoadedModel) -> bool:
    return model.exact and model.device.type == "cpu"


def _test(named: str, network: Network, rows: list[Batch], same: Callable[[Tensor, Tensor], bool]) -> None:
    alone = [_evaluate(network, row) for row in rows]
    for size in _BATCHES:
        together = _evaluate(network, _join(rows[:size]))
        for index in range(size):
            if not same(alone[index], together[index : index + 1]):
                raise NotIsolated(f"{named}: row {index} of {size} is not what it is alone")


def _row(model: LoadedModel, index: int) -> Batch:
    """A batch of one: noise of its own at a noise level of its own."""
    if isinstance(model, TokenModel):
        return _token_row(model, index)
    return _picture_row(picture_model(model), index)


def _token_row(model: TokenModel, index: int) -> Batch:
    assert model.catalog.lengths is not None, "models of sequences have lengths"
    length = model.catalog.lengths.max_length
    generator = torch.Generator().manual_seed(index)
    tokens = torch.randint(model.vocabulary.size, (1, length), generator=generator)
    return Batch(
        latents=tokens.to(model.device),
        timestep=torch.tensor([model.sigma_max * _SIGMAS[index % len(_SIGMAS)]], device=model.device),
        condition=(),
        scalars=(),
        grid=model.token_grid(length),
    )


def _picture_row(model: Model, index: int) -> Batch:
    assert model.catalog.sizes is not None, "models of pictures have sizes"
    side = model.catalog.sizes.min_side
    grid = model.grid(side, side)
    condition = _condition(model, index, grid)
    noise = torch.randn(model.noise_shape(grid), generator=torch.Generator().manual_seed(index))
    return Batch(
        latents=model.pack(noise.to(model.device, model.dtype)),
        timestep=torch.tensor([1000 * _SIGMAS[index % len(_SIGMAS)]], device=model.device),
        condition=condition.tensors,
        scalars=tuple(torch.tensor([scalar], device=model.device) for scalar in condition.scalars),
        grid=grid,
    )


def _condition(model: Model, index: int, grid: Grid) -> Condition:
    image = None
    if "image" in model.catalog.required_fields:
        image = Image.new("RGB", (_IMAGE_SIDE, _IMAGE_SIDE), (50 * index, 250 - 50 * index, 128))
    (condition,) = encode_lanes(model, [f"{index}"], 1.0 + index, image, grid)
    return condition


def _join(rows: list[Batch]) -> Batch:
    return Batch(
        latents=torch.cat([row.latents for row in rows]),
        timestep=torch.cat([row.timestep for row in rows]),
        condition=tuple(torch.cat(parts) for parts in zip(*(row.condition for row in rows), strict=True)),
        scalars=tuple(torch.cat(parts) for parts in zip(*(row.scalars for row in rows), strict=True)),
        grid=rows[0].grid,
    )


def _evaluate(network: Network, batch: Batch) -> Tensor:
    stream = network.embed(batch)
    everyone = range(stream.num_rows)
    for index in range(network.layout.num_blocks):
        stream = stream.set(everyone, network.block(index, stream))
    return network.head(stream)


def _close(alone: Tensor, together: Tensor) -> bool:
    return bool((alone - together).abs().max() <= _TOLERANCE * alone.abs().max())
