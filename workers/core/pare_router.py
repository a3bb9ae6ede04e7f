"""PARE's router: which blocks a row runs, from the noise level and from what its latents look like.

Source: Wang et al. 2026 (arXiv:2605.27336), equations 8 to 10; what they leave open is in decision 0010.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from protocol.depths import round_half_up

TIME_CHANNELS = 256
_LONGEST_PERIOD = 10_000
_STATISTICS = 3
"""Numbers a channel: mean, deviation, change from slice to slice."""


class DepthRouter(nn.Module):
    """Three layers on [time; statistics of the latents; text]: a logit a block.

    A row's logits are the same bits alone and in company when the module is in evaluation. They start as
    `bias` whatever the input.

    Args:
        bias: (N,), the logits to start from.
        channels: of the latents; 0: the router does not look at them.
        text_channels: of the averaged prompt embeddings; 0: it does not look at them.
        width: of both hidden layers.
    """

    def __init__(self, bias: Tensor, channels: int, text_channels: int = 0, width: int = 256) -> None:
        super().__init__()
        self.channels, self.text_channels = channels, text_channels
        last = nn.Linear(width, len(bias))
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(bias)
        inputs = TIME_CHANNELS + _STATISTICS * channels + text_channels
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last
        )

    def forward(self, timestep: Tensor, latents: Tensor, text: Tensor | None = None) -> Tensor:
        """Logits (B, N), float32.

        Args:
            timestep: (B,), as the network is fed it: 1000 sigma.
            latents: (B, C, F, h, w), noisy.
            text: (B, D), see `workers.core.condition_features`; needed only with `text_channels`.

        Raises:
            ValueError: the router looks at the text and there is none.
        """
        parts = [time_features(timestep)]
        if self.channels:
            parts.append(content_features(latents))
        if self.text_channels:
            if text is None:
                raise ValueError(f"this router needs a text vector of {self.text_channels} numbers")
            parts.append(layer_norm(text.float(), text.shape[1:]))
        features = torch.cat(parts, dim=1)
        if self.training:
            logits: Tensor = self.layers(features)
            return logits
        # A product of fewer than four rows rounds otherwise than one of more.
        return torch.cat([self.layers(row) for row in torch.split(features, 1)])


def time_features(timestep: Tensor) -> Tensor:
    """Cosines, then sines, of 1000 sigma (B,) at 128 frequencies: (B, 256) float32, diffusers' order."""
    half = TIME_CHANNELS // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timestep.device) / half
    angles = timestep.float()[:, None] * torch.exp(-log(_LONGEST_PERIOD) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def content_features(latents: Tensor) -> Tensor:
    """Mean, deviation and mean absolute change from slice to slice, by channel, layer-normed together.

    Args:
        latents: (B, C, F, h, w).

    Returns:
        (B, 3 C), float32; each row is worked out by itself. One slice alone changes by 0.
    """
    return torch.cat([_statistics(row) for row in torch.split(latents.float(), 1)])


def _statistics(latents: Tensor) -> Tensor:
    cells = latents.flatten(2)
    change = latents.diff(dim=2).abs().flatten(2)
    changes = change.mean(2) if change.shape[2] else torch.zeros_like(cells[..., 0])
    numbers = torch.cat([cells.mean(2), cells.std(2, correction=0), changes], dim=1)
    return layer_norm(numbers, numbers.shape[1:])


def depth(sigma: float, least: float, most: float) -> int:
    """Blocks to run at a noise level in [0, 1], the first and the last among them; halves are rounded up.

    Source: equation 8 with t / T = sigma.
    """
    return round_half_up(least + (most - least) * sigma)


def top_blocks(logits: Tensor, k: int | Sequence[int]) -> Tensor:
    """The first and the last block and the k - 2 others of the highest logits; of equal ones the earlier.

    Args:
        logits: (B, N).
        k: blocks to run, for all rows or a number a row; below 2 the first and the last run all the same.

    Returns:
        (B, N) bool.
    """
    scores = logits.detach().clone()
    scores[:, [0, -1]] = float("inf")
    rank = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    counts = torch.as_tensor(k, device=logits.device).clamp(min=2).reshape(-1, 1)
    return rank < counts
