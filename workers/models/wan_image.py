"""Wan 2.1 image to video: any WanImageToVideoPipeline folder. What differs from text to video."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from diffusers import WanImageToVideoPipeline
from PIL.Image import Image
from torch import Tensor

from protocol.shapes import MAX_TEXT_TOKENS
from workers.core import Grid
from workers.models.wan import Wan, unfaithful

_ENCODED_AT_ONCE = 4
"""Frames AutoencoderKLWan encodes together after the first, whatever its temporal factor."""


class WanImage(Wan):
    """A loaded WanImageToVideoPipeline.

    The image is seen twice: as tokens of CLIP's, which every block attends to beside the text, and as the
    latents of a clip that begins with it and is grey after, behind a mask that says so.

    Raises:
        ValueError: a pipeline of another kind (Wan 2.2, first and last frame), or configs that disagree.
    """

    pipeline_class: ClassVar[Any] = WanImageToVideoPipeline
    required_fields: ClassVar[tuple[str, ...]] = ("image",)

    def encode_image(self, image: Image, grid: Grid) -> tuple[Tensor, ...]:
        """(image_embeds (1, T, D), image latents behind their mask (1, F, h, w, C)); see `WanNetwork.embed`.

        Channels stand last there, so that a condition's means are as many for clips of any size.
        """
        pipeline, dtype = self.pipeline, self.pipeline.transformer.dtype
        embeds = pipeline.encode_image(image, self.device)
        return embeds.to(dtype), self._known(image, grid).to(dtype).movedim(1, -1).contiguous()

    def _known(self, image: Image, grid: Grid) -> Tensor:
        """(1, C, F, h, w), float32: which frames are given, and the latents of a clip of these alone."""
        pipeline, (*_, latent_height, latent_width) = self.pipeline, self.noise_shape(grid)
        height, width = (self._shapes.spatial_factor * side for side in (latent_height, latent_width))
        pixels = pipeline.video_processor.preprocess(image, height=height, width=width)
        pixels = pixels.to(self.device, torch.float32)
        _, known = pipeline.prepare_latents(
            pixels,
            batch_size=1,
            num_channels_latents=self._shapes.latent_channels,
            height=height,
            width=width,
            num_frames=self._pixel_frames(grid.num_frames),
            dtype=torch.float32,
            device=self.device,
            latents=pixels.new_empty(0),
        )
        return torch.as_tensor(known)

    def _count_text_tokens(self) -> int:
        """The blocks take the last 512 tokens of their context for the text, and the others for the image."""
        return MAX_TEXT_TOKENS

    @property
    def _frame_multiple(self) -> int:
        return math.lcm(self._shapes.autoencoder.temporal_factor, _ENCODED_AT_ONCE)

    def _other_kinds(self) -> dict[str, object]:
        shapes, transformer = self._shapes, self._shapes.transformer
        encoder = shapes.image_encoder
        width = None if encoder is None else encoder.hidden_size
        return {
            **unfaithful(self.pipeline, shapes),
            "no image_encoder": encoder is None,
            "image_dim that is not its image_encoder's": transformer.image_dim != width,
            "added_kv_proj_dim that is not its inner dimension": transformer.added_kv_proj_dim
            != transformer.inner_dim,
            "pos_embed_seq_len (first and last frame)": transformer.pos_embed_seq_len,
            "in_channels that are not two latents' and a mask's": shapes.image_channels
            != shapes.latent_channels + shapes.autoencoder.temporal_factor,
        }
