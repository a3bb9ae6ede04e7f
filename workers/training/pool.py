"""The scenes the denoiser learns from: latents encoded once and mapped, captions tokenised once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer, T5Tokenizer

from workers.training.architecture import TEXT_TOKENS
from workers.training.autoencoder import encode_pool, latent_statistics
from workers.training.scenes import Scene, caption_of, sample_scenes
from workers.training.settings import PoolSettings

_CHUNK = 2048  # scenes held in memory as images at once


@dataclass(frozen=True)
class TextIds:
    """Token ids padded as FluxPipeline pads them: clip (N, 16) and t5 (N, 16)."""

    clip: Tensor
    t5: Tensor

    def take(self, rows: Tensor) -> TextIds:
        """The rows of both."""
        return TextIds(self.clip[rows], self.t5[rows])


@dataclass(frozen=True)
class Pool:
    """Latents (N, 8, 16, 16) float16, mapped and not scaled; their statistics; the captions' ids."""

    latents: np.ndarray[Any, Any]
    scaling: float
    shift: float
    text: TextIds

    def packed(self, rows: Tensor) -> Tensor:
        """Scaled latents as the transformer takes them, (B, 64, 32) float32."""
        latents = torch.from_numpy(self.latents[rows.numpy()].astype(np.float32))
        return pack((latents - self.shift) * self.scaling)


def pack(latents: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h/2 * w/2, 4 C), FluxPipeline's order."""
    batch, channels, height, width = latents.shape
    cells = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, height // 2 * (width // 2), channels * 4)


def tokenise(captions: list[str], clip: CLIPTokenizer, t5: T5Tokenizer) -> TextIds:
    """Pad and cut captions to `TEXT_TOKENS` with both tokenizers."""
    ids = [
        tokenizer(
            captions, padding="max_length", max_length=TEXT_TOKENS, truncation=True, return_tensors="pt"
        ).input_ids
        for tokenizer in (clip, t5)
    ]
    return TextIds(*ids)


def build_pool(autoencoder: AutoencoderKL, settings: PoolSettings, path: Path) -> None:
    """Draw the training scenes, encode them, and write latents (.npy) and captions (.txt)."""
    captions: list[str] = []
    rng = random.Random(f"captions-{settings.seed}")

    def images() -> Iterator[list[Image.Image]]:
        for start in range(0, settings.num_scenes, _CHUNK):
            scenes = sample_scenes(min(_CHUNK, settings.num_scenes - start), settings.seed + start)
            captions.extend(_as_people_write(scene, rng) for scene in scenes)
            yield [scene.image for scene in scenes]

    encode_pool(autoencoder, images(), settings.num_scenes, path, settings.batch)
    path.with_suffix(".txt").write_text("\n".join(captions))


def _as_people_write(scene: Scene, rng: random.Random) -> str:
    """The caption, one time in four with the objects' colours, one time in eight with a capital."""
    caption = caption_of(scene.attributes, coloured=rng.random() < 1 / 4)
    return caption.capitalize() if rng.random() < 1 / 8 else caption


def load_pool(path: Path, clip: CLIPTokenizer, t5: T5Tokenizer) -> Pool:
    """Map a pool that `build_pool` wrote."""
    latents = np.load(path, mmap_mode="r")
    captions = path.with_suffix(".txt").read_text().split("\n")
    return Pool(latents, *latent_statistics(latents), tokenise(captions, clip, t5))
