"""The shapes of what turns prompts and images into tokens: CLIP's two models, T5 and UMT5.

Field names and defaults are those of the transformers configs, as in `shapes` those of diffusers': a
`config.json` leaves out what it has at the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PositiveInt


class Shape(BaseModel):
    """Numbers of one module's config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **more: Any) -> Self:
        """Take this class's fields from a `config.json`; `more` gives what stands elsewhere."""
        known = {name: config[name] for name in cls.model_fields if config.get(name) is not None}
        return cls.model_validate({**known, **more})


class ClipTextShape(Shape):
    """`CLIPTextModel`; `tokens` is what its tokenizer pads to."""

    hidden_size: PositiveInt = 512
    intermediate_size: PositiveInt = 2048
    num_hidden_layers: PositiveInt = 12
    tokens: PositiveInt = 77


class ClipImageShape(Shape):
    """`CLIPVisionModel`: square images cut into square patches, and a token for the whole."""

    hidden_size: PositiveInt = 768
    intermediate_size: PositiveInt = 3072
    num_hidden_layers: PositiveInt = 12
    num_channels: PositiveInt = 3
    image_size: PositiveInt = 224
    patch_size: PositiveInt = 32

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2

    @property
    def tokens(self) -> int:
        return self.patches + 1


class T5Shape(Shape):
    """The encoder of `T5EncoderModel` or `UMT5EncoderModel`; `tokens` is what its tokenizer pads to."""

    d_model: PositiveInt = 512
    d_kv: PositiveInt = 64
    d_ff: PositiveInt = 2048
    num_layers: PositiveInt = 6
    num_heads: PositiveInt = 8
    feed_forward_proj: str = "relu"
    tokens: PositiveInt

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **more: Any) -> Self:
        """As `Shape.from_config`; UMT5's defaults are other than T5's."""
        known = _UMT5_DEFAULTS if config.get("model_type") == "umt5" else {}
        return super().from_config({**known, **config}, **more)

    @property
    def inner_dim(self) -> int:
        return self.num_heads * self.d_kv

    @property
    def gated(self) -> bool:
        """Whether the feed-forward has a gate: three matrices instead of two."""
        return self.feed_forward_proj.startswith("gated")


_UMT5_DEFAULTS = {"d_ff": 1024, "num_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu"}
