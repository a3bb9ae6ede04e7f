"""What neither target trains: the autoencoder and the text encoders of `flux-tiny`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline
from PIL import Image
from torch import Tensor

from workers.training.architecture import TEXT_TOKENS
from workers.training.autoencoder import to_images
from workers.training.judge import to_pixels
from workers.training.pool import pack

_PIXELS = 64


class Frozen:
    """A FluxPipeline folder without its transformer, in float32.

    Args:
        folder: of `flux-tiny`.
    """

    def __init__(self, folder: Path) -> None:
        pipeline = FluxPipeline.from_pretrained(
            folder, transformer=None, dtype=torch.float32, local_files_only=True
        )
        for module in (pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
            module.requires_grad_(False)
        self.pipeline: Any = pipeline

    @torch.inference_mode()
    def texts(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Pooled (B, 128) and sequence embeddings (B, 16, 128), as FluxPipeline makes them."""
        sequence, pooled, _ = self.pipeline.encode_prompt(
            list(captions), prompt_2=None, device=torch.device("cpu"), max_sequence_length=TEXT_TOKENS
        )
        return pooled, sequence

    @torch.inference_mode()
    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """Posterior means, scaled and packed as FluxPipeline does: (B, 64, 32)."""
        vae = self.pipeline.vae
        mean = vae.encode(to_pixels(images)).latent_dist.mean
        return pack((mean - vae.config.shift_factor) * vae.config.scaling_factor)

    @torch.inference_mode()
    def images(self, latents: Tensor) -> list[Image.Image]:
        """The pictures of packed latents (B, 64, 32)."""
        pipeline, vae = self.pipeline, self.pipeline.vae
        unpacked = pipeline._unpack_latents(latents, _PIXELS, _PIXELS, pipeline.vae_scale_factor)
        scaled = unpacked / vae.config.scaling_factor + vae.config.shift_factor
        return to_images(vae.decode(scaled).sample)
