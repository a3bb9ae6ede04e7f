"""The few numbers of a SEDD that its compute and memory depend on."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator


class SeddShape(BaseModel):
    """`SEDD` over a uniform graph; `tokens` is the vocabulary, `length` what it was trained on at most.

    Names and defaults are those of the original's config for its small model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: PositiveInt
    hidden_size: PositiveInt = 768
    cond_dim: PositiveInt = 128
    length: PositiveInt = 1024
    n_blocks: PositiveInt = 12
    n_heads: PositiveInt = 12

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.hidden_size % (2 * self.n_heads):
            raise ValueError("hidden_size must be a multiple of twice n_heads: rotary tables turn pairs")
        return self

    @property
    def num_blocks(self) -> int:
        return self.n_blocks


class SeddShapes(BaseModel):
    """A discrete model: tokens in, tokens out, no encoder and no decoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["sedd"] = "sedd"
    transformer: SeddShape

    @property
    def num_blocks(self) -> int:
        return self.transformer.num_blocks
