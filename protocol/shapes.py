"""The few numbers of a model's configs that its compute and memory depend on.

A catalog entry carries them, so a gateway prices a request without the weights. The shapes of what encodes
prompts and images stand in `encoder_shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from protocol.encoder_shapes import ClipImageShape, ClipTextShape, Shape, T5Shape
from protocol.sedd_shape import SeddShapes

MAX_TEXT_TOKENS = 512
"""Both FLUX and Wan pipelines cut the long text encoder's input here."""

Grid = tuple[int, int, int]
"""Latent frames, height and width."""


class _TransformerShape(Shape):
    attention_head_dim: PositiveInt = 128
    num_attention_heads: PositiveInt

    @property
    def inner_dim(self) -> int:
        return self.num_attention_heads * self.attention_head_dim


class FluxTransformerShape(_TransformerShape):
    """`FluxTransformer2DModel`: two-stream blocks, then single-stream ones."""

    num_attention_heads: PositiveInt = 24
    patch_size: PositiveInt = 1
    in_channels: PositiveInt = 64
    out_channels: PositiveInt | None = None
    num_layers: NonNegativeInt = 19
    num_single_layers: NonNegativeInt = 38
    joint_attention_dim: PositiveInt = 4096
    pooled_projection_dim: PositiveInt = 768
    guidance_embeds: bool = False

    @property
    def patch_channels(self) -> int:
        """Numbers that the head gives for each image token."""
        return self.patch_size**2 * (self.out_channels or self.in_channels)

    @property
    def num_blocks(self) -> int:
        return self.num_layers + self.num_single_layers


class WanTransformerShape(_TransformerShape):
    """`WanTransformer3DModel`; `image_dim` and `added_kv_proj_dim` only in its image-to-video form."""

    num_attention_heads: PositiveInt = 40
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 2, 2)
    in_channels: PositiveInt = 16
    out_channels: PositiveInt | None = 16
    text_dim: PositiveInt = 4096
    freq_dim: PositiveInt = 256
    ffn_dim: PositiveInt = 13824
    num_layers: PositiveInt = 40
    image_dim: PositiveInt | None = None
    added_kv_proj_dim: PositiveInt | None = None
    pos_embed_seq_len: PositiveInt | None = None
    image_tokens: PositiveInt = 257
    """What the image encoder gives; 257 are a CLIP ViT-H/14's."""

    @property
    def image_context_tokens(self) -> int:
        """Tokens of the conditioning image, or of two where the config has positions for them."""
        if self.added_kv_proj_dim is None:
            return 0
        return self.pos_embed_seq_len or self.image_tokens

    @property
    def num_blocks(self) -> int:
        return self.num_layers


class PareShape(Shape):
    """What PARE left of a Wan transformer: the same in every block, whose input and output stay as they were.

    `least_blocks` and `most_blocks` are K_min and K_max, between which its router was trained to choose.
    """

    self_heads: PositiveInt
    cross_heads: PositiveInt
    ffn_dim: PositiveInt
    least_blocks: PositiveFloat
    most_blocks: PositiveFloat


class AutoencoderShape(Shape):
    """`AutoencoderKL` of plain down and up blocks, attention in the middle alone; others are refused."""

    in_channels: PositiveInt = 3
    out_channels: PositiveInt = 3
    down_block_types: tuple[Literal["DownEncoderBlock2D"], ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[Literal["UpDecoderBlock2D"], ...] = ("UpDecoderBlock2D",)
    latent_channels: PositiveInt = 4
    block_out_channels: tuple[PositiveInt, ...] = (64,)
    layers_per_block: PositiveInt = 1
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    @property
    def spatial_factor(self) -> int:
        """Pixels a latent cell is wide."""
        return 1 << (len(self.block_out_channels) - 1)


class WanAutoencoderShape(Shape):
    """`AutoencoderKLWan` as in Wan 2.1 (the residual, patched one of 2.2 5B is refused)."""

    base_dim: PositiveInt = 96
    decoder_base_dim: PositiveInt | None = None
    z_dim: PositiveInt = 16
    dim_mult: tuple[PositiveInt, ...] = (1, 2, 4, 4)
    num_res_blocks: PositiveInt = 2
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    in_channels: PositiveInt = 3
    out_channels: PositiveInt = 3
    is_residual: Literal[False] = False
    patch_size: None = None

    @model_validator(mode="after")
    def _one_flag_a_scale(self) -> Self:
        if len(self.temperal_downsample) != len(self.dim_mult) - 1:
            raise ValueError("temperal_downsample must have one flag fewer than dim_mult has scales")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a latent cell is wide."""
        return 1 << (len(self.dim_mult) - 1)

    @property
    def temporal_factor(self) -> int:
        """Frames a latent frame stands for, but for the first, which stands for one."""
        return 1 << sum(self.temperal_downsample)


class FluxShapes(Shape):
    """A FLUX pipeline."""

    family: Literal["flux"] = "flux"
    transformer: FluxTransformerShape
    clip: ClipTextShape
    t5: T5Shape
    autoencoder: AutoencoderShape

    @classmethod
    def from_configs(
        cls,
        transformer: Mapping[str, Any],
        text_encoder: Mapping[str, Any],
        text_encoder_2: Mapping[str, Any],
        vae: Mapping[str, Any],
        *,
        text_tokens: int,
        clip_tokens: int = 77,
    ) -> Self:
        """Read the folder's `config.json` files; tokens are what its tokenizers pad to, 512 at most."""
        return cls(
            transformer=FluxTransformerShape.from_config(transformer),
            clip=ClipTextShape.from_config(text_encoder, tokens=clip_tokens),
            t5=T5Shape.from_config(text_encoder_2, tokens=min(text_tokens, MAX_TEXT_TOKENS)),
            autoencoder=AutoencoderShape.from_config(vae),
        )

    @property
    def text_tokens(self) -> int:
        """Text tokens beside the image's in every attention."""
        return self.t5.tokens

    @property
    def latent_channels(self) -> int:
        return self.autoencoder.latent_channels

    @property
    def spatial_factor(self) -> int:
        return self.autoencoder.spatial_factor

    @property
    def num_blocks(self) -> int:
        return self.transformer.num_blocks

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of this: a token is 2 x 2 latent cells."""
        return 2 * self.spatial_factor

    def latent_grid(self, width: int, height: int, num_frames: int | None = None) -> Grid:
        """(1, h, w) of the latents of a `width` x `height` image; `num_frames` has no meaning here."""
        return 1, 2 * (height // self.size_multiple), 2 * (width // self.size_multiple)

    def image_tokens(self, width: int, height: int, num_frames: int | None = None) -> int:
        _, rows, columns = self.latent_grid(width, height)
        return rows * columns // 4


class WanShapes(Shape):
    """A Wan 2.1 pipeline; `transformer` is the unpruned one also where `pare` says what is left of it.

    `image_encoder` is there if clips start from an image.
    """

    family: Literal["wan"] = "wan"
    transformer: WanTransformerShape
    umt5: T5Shape
    autoencoder: WanAutoencoderShape
    pare: PareShape | None = None
    image_encoder: ClipImageShape | None = None

    @classmethod
    def from_configs(
        cls,
        transformer: Mapping[str, Any],
        text_encoder: Mapping[str, Any],
        vae: Mapping[str, Any],
        *,
        text_tokens: int = MAX_TEXT_TOKENS,
        pare: PareShape | None = None,
        image_encoder: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read the pipeline folder's `config.json` files; 512 text tokens are used at most."""
        encoder = None if image_encoder is None else ClipImageShape.from_config(image_encoder)
        image = {} if encoder is None else {"image_tokens": encoder.tokens}
        return cls(
            transformer=WanTransformerShape.from_config(transformer, **image),
            umt5=T5Shape.from_config(
                {"model_type": "umt5", **text_encoder}, tokens=min(text_tokens, MAX_TEXT_TOKENS)
            ),
            autoencoder=WanAutoencoderShape.from_config(vae),
            pare=pare,
            image_encoder=encoder,
        )

    @property
    def text_tokens(self) -> int:
        """Text tokens that every block attends to."""
        return self.umt5.tokens

    @property
    def latent_channels(self) -> int:
        return self.autoencoder.z_dim

    @property
    def image_channels(self) -> int:
        """Channels beside the latents that say what is known of an image: its latents, a mask a frame."""
        return self.transformer.in_channels - self.latent_channels

    @property
    def spatial_factor(self) -> int:
        return self.autoencoder.spatial_factor

    @property
    def num_blocks(self) -> int:
        return self.transformer.num_blocks

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of this, so that patches fill the latents."""
        return self.spatial_factor * max(self.transformer.patch_size[1:])

    def latent_grid(self, width: int, height: int, num_frames: int | None = None) -> Grid:
        """(f, h, w) of the latents; frames count 1 + temporal_factor * (f - 1), one if not given."""
        frames = ((num_frames or 1) - 1) // self.autoencoder.temporal_factor + 1
        return frames, height // self.spatial_factor, width // self.spatial_factor

    def image_tokens(self, width: int, height: int, num_frames: int | None = None) -> int:
        grid = self.latent_grid(width, height, num_frames)
        return prod(cells // patch for cells, patch in zip(grid, self.transformer.patch_size, strict=True))


PictureShapes = FluxShapes | WanShapes
"""Of families that make pictures or clips out of noise, by an autoencoder."""

ModelShapes = Annotated[PictureShapes | SeddShapes, Field(discriminator="family")]
