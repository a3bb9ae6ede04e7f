"""Train the autoencoder on single frames and then on clips, and whiten what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from workers.training.autoencoder import reconstruction_loss
from workers.training.clips import Frames, sample_clips
from workers.training.optimisers import average_gradients, limit_outliers
from workers.training.resumable import ScheduledTrainee, step_seed
from workers.training.video.architecture import LATENT_CHANNELS, build_autoencoder
from workers.training.video.settings import WanAutoencoderSettings

_QUIET = -4.0  # logarithm of the variance
_OF_AN_OBJECT = 0.1
"""Distance from the background, of the range from -1 to 1."""
_LONGEST_GRADIENT = 2.0
"""Times the length remembered. Without this limit the training collapses within 800 steps."""


class WanAutoencoderTrainee(ScheduledTrainee):
    """AutoencoderKLWan on fresh training clips, one rank of several.

    The first steps see one frame of each clip: as a causal network it takes a single frame for the first
    slice, and what it learns there serves all slices.
    """

    def __init__(self, settings: WanAutoencoderSettings, seed: int, rank: int = 0, ranks: int = 1) -> None:
        torch.manual_seed(step_seed("wan-autoencoder", seed))
        self.settings, self.seed, self.rank, self.ranks = settings, seed, rank, ranks
        self.num_steps = settings.num_steps
        self.network = build_autoencoder()
        start_as_image_model(self.network)
        # Latents start with little noise: with as much as an untrained encoder asks for, nothing passes.
        nn.init.constant_(self.network.quant_conv.bias[LATENT_CHANNELS:], _QUIET)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=1e-3,
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, settings.learning_rate, self.num_steps, pct_start=0.05, cycle_momentum=False
        )

    def step(self, index: int) -> float:
        """One batch of new frames or clips, this rank's rows of it."""
        torch.manual_seed(step_seed("wan-autoencoder", self.seed, index, self.rank))
        loss = self._loss(self._pixels(index))
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        average_gradients(list(self.network.parameters()), self.ranks)
        # Its norms divide by the length of a cell's channels; where that is small, a gradient is huge.
        limit_outliers(self.optimiser, _LONGEST_GRADIENT)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())

    def _pixels(self, index: int) -> Tensor:
        settings = self.settings
        single = index < settings.frame_steps
        count = (settings.frame_batch if single else settings.clip_batch) // self.ranks
        clips = sample_clips(count, step_seed("wan-autoencoder-clips", self.seed, index, self.rank))
        pixels = to_video([clip.frames for clip in clips])
        # The frame may be any: a clip's first one shows where fast objects start, not where they go.
        return pixels[:, :, [index % pixels.shape[2]]] if single else pixels

    def _loss(self, pixels: Tensor) -> Tensor:
        posterior = self.network.encode(pixels).latent_dist
        rebuilt = self.network.decode(posterior.sample()).sample
        loss = reconstruction_loss(rebuilt, pixels, self.settings.edge_weight)
        loss = loss + weighted_error(rebuilt, pixels, self.settings.object_weight)
        if pixels.shape[2] > 1:
            loss = loss + self.settings.change_weight * (rebuilt - pixels).diff(dim=2).abs().mean()
        divergence: Tensor = posterior.kl().mean() / posterior.mean[0].numel()
        return loss + self.settings.kl_weight * divergence


@torch.no_grad()
def start_as_image_model(network: AutoencoderKLWan) -> None:
    """Draw weights by the taps that meet a single frame, and let volumes see no earlier frame yet.

    torch's own start counts taps on frames that are not there: after nine layers a frame has all but faded,
    and a thousand steps later colours are still not told apart.
    """
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d | nn.Conv3d):
            continue
        area = layer.kernel_size[-1] * layer.kernel_size[-2]
        nn.init.normal_(layer.weight, std=(layer.in_channels * area) ** -0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.Conv3d) and area > 1:
            nn.init.zeros_(layer.weight[:, :, :-1])


def weighted_error(rebuilt: Tensor, pixels: Tensor, weight: float) -> Tensor:
    """Mean absolute error of (B, 3, F, H, W) pixels, those of objects counting 1 + `weight` times.

    An object's are those far from the median, which is the background: it is plain. Objects are few pixels of
    a clip; counted as others are, a plain clip is nearly right.
    """
    background = pixels.flatten(2).median(dim=2).values[:, :, None, None, None]
    objects = ((pixels - background).abs().amax(1, keepdim=True) > _OF_AN_OBJECT).float()
    weights = 1 + weight * objects.expand_as(pixels)
    return ((rebuilt - pixels).abs() * weights).sum() / weights.sum()


def to_video(clips: Sequence[Frames]) -> Tensor:
    """(B, 3, 9, 32, 32) in [-1, 1], float32."""
    return torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def to_frames(pixels: Tensor) -> list[Frames]:
    """(B, 3, F, H, W) in [-1, 1] to (F, H, W, 3) uint8 each, rounded as diffusers' processor does."""
    array = ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return list(array.permute(0, 2, 3, 4, 1).numpy())


@torch.inference_mode()
def reconstruct(autoencoder: AutoencoderKLWan, clips: Sequence[Frames], batch: int = 16) -> list[Frames]:
    """Encode (posterior mean) and decode clips."""
    rebuilt: list[Frames] = []
    for start in range(0, len(clips), batch):
        pixels = to_video(clips[start : start + batch]).to(autoencoder.dtype)
        rebuilt += to_frames(autoencoder.decode(autoencoder.encode(pixels).latent_dist.mean).sample)
    return rebuilt


def latent_statistics(latents: np.ndarray[Any, Any]) -> tuple[list[float], list[float]]:
    """Mean and deviation by channel of (N, 8, 5, 8, 8) latents, from the first 4096."""
    sample = latents[:4096].astype(np.float32)
    return sample.mean((0, 2, 3, 4)).tolist(), sample.std((0, 2, 3, 4)).tolist()
