"""Train the autoencoder, the ceiling of the whole model, and encode the scenes the denoiser learns from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from workers.training.architecture import LATENT_CHANNELS, LATENT_SIZE, build_autoencoder
from workers.training.judge import to_pixels
from workers.training.resumable import ScheduledTrainee, step_seed
from workers.training.scenes import sample_scenes
from workers.training.settings import AutoencoderSettings


class AutoencoderTrainee(ScheduledTrainee):
    """AutoencoderKL on fresh training scenes: absolute error, error of the edges, and a little KL."""

    def __init__(self, settings: AutoencoderSettings, seed: int) -> None:
        torch.manual_seed(step_seed("autoencoder", seed))
        self.settings, self.seed, self.num_steps = settings, seed, settings.num_steps
        self.network = build_autoencoder().to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, settings.learning_rate, settings.num_steps, pct_start=0.05, cycle_momentum=False
        )

    def step(self, index: int) -> float:
        """One batch of new scenes."""
        torch.manual_seed(step_seed("autoencoder", self.seed, index))
        scenes = sample_scenes(self.settings.batch, step_seed("autoencoder-scenes", self.seed, index))
        pixels = to_pixels([scene.image for scene in scenes]).contiguous(memory_format=torch.channels_last)
        posterior = self.network.encode(pixels).latent_dist
        rebuilt = self.network.decode(posterior.sample()).sample
        loss = reconstruction_loss(rebuilt, pixels, self.settings.edge_weight)
        loss = loss + self.settings.kl_weight * posterior.kl().mean() / posterior.mean[0].numel()
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())


def reconstruction_loss(rebuilt: Tensor, pixels: Tensor, edge_weight: float) -> Tensor:
    """Mean absolute error of (B, 3, H, W) pixels, plus that of their horizontal and vertical differences."""
    error = rebuilt - pixels
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return nn.functional.l1_loss(rebuilt, pixels) + edge_weight * edges


@torch.inference_mode()
def reconstruct(
    autoencoder: AutoencoderKL, images: Sequence[Image.Image], batch: int = 32
) -> list[Image.Image]:
    """Encode (posterior mean) and decode images."""
    rebuilt = []
    for start in range(0, len(images), batch):
        pixels = to_pixels(images[start : start + batch]).to(autoencoder.dtype)
        mean = autoencoder.encode(pixels).latent_dist.mean
        rebuilt += to_images(autoencoder.decode(mean).sample)
    return rebuilt


def to_images(pixels: Tensor) -> list[Image.Image]:
    """(B, 3, H, W) in [-1, 1] to PIL, rounded as diffusers' image processor does."""
    array = ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(row) for row in array.permute(0, 2, 3, 1).numpy()]


@torch.inference_mode()
def encode_pool(
    autoencoder: AutoencoderKL, chunks: Iterable[list[Image.Image]], total: int, path: Path, batch: int = 64
) -> None:
    """Write the images' latents (posterior means, not scaled) as one float16 .npy that can be mapped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    shape = (total, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
    pool = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
    done = 0
    for images in chunks:
        for start in range(0, len(images), batch):
            part = to_pixels(images[start : start + batch]).contiguous(memory_format=torch.channels_last)
            pool[done : done + len(part)] = autoencoder.encode(part).latent_dist.mean.half().numpy()
            done += len(part)
    pool.flush()
    partial.rename(path)


def latent_statistics(latents: np.ndarray[Any, Any]) -> tuple[float, float]:
    """(scaling, shift) that bring latents to zero mean and unit deviation: (z - shift) * scaling."""
    sample = latents[:4096].astype(np.float32)
    return float(1 / sample.std()), float(sample.mean())
