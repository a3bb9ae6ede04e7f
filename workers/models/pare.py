"""A PARE student's folder: the stock one, `transformer/` holding what was kept and the router beside it.

    transformer/config.json          the unpruned network's
    transformer/*.safetensors        the weights that were kept, under their own names
    transformer/pare.json            which heads and neurons they are, see `Pare`
    transformer/router.safetensors   the router's, float32; only with `router`

Source: Wang et al. 2026 (arXiv:2605.27336); what it leaves open is in decision 0010.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.attention import FeedForward
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from safetensors.torch import load_file

from protocol.shapes import PareShape
from workers.core.pare_router import DepthRouter

_PARE, _ROUTER, _COMPONENT = "pare.json", "router.safetensors", "transformer"
PARE_FILE = f"{_COMPONENT}/{_PARE}"
ROUTER_FILE = f"{_COMPONENT}/{_ROUTER}"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeptBlock(_Strict):
    """What is left of one block, as places in the unpruned one, rising."""

    self_heads: tuple[NonNegativeInt, ...]
    cross_heads: tuple[NonNegativeInt, ...]
    neurons: tuple[NonNegativeInt, ...]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for name in type(self).model_fields:
            places = getattr(self, name)
            if not places or any(right <= left for left, right in pairwise(places)):
                raise ValueError(f"{name} must rise and not be empty")
        return self

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many of each."""
        return len(self.self_heads), len(self.cross_heads), len(self.neurons)


class RouterShape(_Strict):
    """Of a `DepthRouter`: 0 channels of something mean that it does not look at it."""

    channels: NonNegativeInt
    text_channels: NonNegativeInt = 0
    width: PositiveInt = 256


class Pare(_Strict):
    """The content of `pare.json`.

    Attributes:
        teacher: digest of the folder the student was made from.
        blocks: what is left of each; all keep the same numbers.
        least_blocks, most_blocks: K_min and K_max of equation 8, not rounded.
        router: None: all blocks run at every step.
    """

    teacher: str
    blocks: tuple[KeptBlock, ...]
    least_blocks: PositiveFloat
    most_blocks: PositiveFloat
    router: RouterShape | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({block.counts for block in self.blocks}) != 1:
            raise ValueError("blocks must be there and keep the same numbers of heads and neurons")
        if not 2 <= self.least_blocks <= self.most_blocks <= len(self.blocks):
            raise ValueError("least_blocks and most_blocks must rise from 2 to the number of blocks")
        return self

    @classmethod
    def read(cls, folder: Path, component: str = _COMPONENT) -> Self | None:
        """What the pipeline folder says of a transformer, None where nothing is pruned.

        Raises:
            ValueError: the file holds something else; the message names the key.
        """
        path = folder / component / _PARE
        return cls.model_validate_json(path.read_bytes()) if path.exists() else None

    @property
    def shape(self) -> PareShape:
        """The numbers its cost depends on."""
        self_heads, cross_heads, neurons = self.blocks[0].counts
        return PareShape(
            self_heads=self_heads,
            cross_heads=cross_heads,
            ffn_dim=neurons,
            least_blocks=self.least_blocks,
            most_blocks=self.most_blocks,
        )


def narrow(transformer: Any, pare: Pare) -> Any:
    """Give every block of a WanTransformer3DModel the widths that `pare` keeps; their weights are new.

    Returns:
        The transformer, changed; still a stock one, its config that of the unpruned network.

    Raises:
        ValueError: it has other blocks than `pare` speaks of, or attends to an image.
    """
    config = transformer.config
    _check(config, pare)
    dim = config.num_attention_heads * config.attention_head_dim
    for block, kept in zip(transformer.blocks, pare.blocks, strict=True):
        block.attn1 = _attention(config, len(kept.self_heads), None)
        block.attn2 = _attention(config, len(kept.cross_heads), config.attention_head_dim)
        block.ffn = FeedForward(dim, inner_dim=len(kept.neurons), activation_fn="gelu-approximate")
    return transformer


def _attention(config: Any, heads: int, cross_head_dim: int | None) -> Any:
    return WanAttention(
        dim=config.num_attention_heads * config.attention_head_dim,
        heads=heads,
        dim_head=config.attention_head_dim,
        eps=config.eps,
        cross_attention_dim_head=cross_head_dim,
        processor=WanAttnProcessor(),
    )


def _check(config: Any, pare: Pare) -> None:
    if config.added_kv_proj_dim is not None:
        raise ValueError("a PARE student with added_kv_proj_dim (image to video) is not supported")
    if len(pare.blocks) != config.num_layers:
        raise ValueError(f"pare.json has {len(pare.blocks)} blocks, config.json {config.num_layers}")
    heads, neurons = config.num_attention_heads, config.ffn_dim
    for block in pare.blocks:
        _within("self_heads", block.self_heads, heads)
        _within("cross_heads", block.cross_heads, heads)
        _within("neurons", block.neurons, neurons)


def _within(name: str, places: Iterable[int], count: int) -> None:
    if max(places) >= count:
        raise ValueError(f"pare.json keeps {name} beyond the {count} there are")


def load_transformer(folder: Path, dtype: torch.dtype, component: str = _COMPONENT) -> Any:
    """A transformer of the pipeline folder as it is, pruned or not."""
    pare = Pare.read(folder, component)
    if pare is not None:
        return load_student(folder, pare, dtype, component)
    return WanTransformer3DModel.from_pretrained(
        folder, subfolder=component, dtype=dtype, local_files_only=True
    )


def load_student(folder: Path, pare: Pare, dtype: torch.dtype, component: str = _COMPONENT) -> Any:
    """The pipeline folder's pruned transformer, loaded as diffusers loads the stock one."""

    class Student(WanTransformer3DModel):  # type: ignore[misc]
        """`from_pretrained` fills whatever `from_config` builds."""

        @classmethod
        def from_config(cls, config: Any, **options: Any) -> Any:
            return narrow(WanTransformer3DModel.from_config(config, **options), pare)

    return Student.from_pretrained(folder, subfolder=component, dtype=dtype, local_files_only=True)


def build_router(shape: RouterShape, num_blocks: int) -> DepthRouter:
    """A router that has learned nothing."""
    return DepthRouter(torch.zeros(num_blocks), shape.channels, shape.text_channels, shape.width)


def load_router(folder: Path, pare: Pare, component: str = _COMPONENT) -> DepthRouter | None:
    """The pipeline folder's router, ready for use; None where there is none."""
    if pare.router is None:
        return None
    router = build_router(pare.router, len(pare.blocks))
    router.load_state_dict(load_file(folder / component / _ROUTER))
    return router.eval().requires_grad_(False)
