"""The network of the experiment: a small FLUX transformer, and, as a control, a free way around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.core.pare_router import TIME_CHANNELS, time_features
from workers.training.architecture import LATENT_CHANNELS, TEXT_TOKENS, build_transformer, latent_image_ids
from workers.training.jlt.settings import NetworkSettings

TOKEN_CHANNELS = 4 * LATENT_CHANNELS
_SKIP_WIDTH = 128


class FreeSkip(nn.Module):
    """A gain a channel, read from the noise level, on the latents themselves: full rank at no width.

    The best linear readout of a velocity has such a gain in every direction, -1 / sigma where there is no
    data; a narrow network must carry it through its blocks, and this one need not.
    """

    def __init__(self) -> None:
        super().__init__()
        last = nn.Linear(_SKIP_WIDTH, TOKEN_CHANNELS)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(TIME_CHANNELS, _SKIP_WIDTH), nn.SiLU(), last)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """(B, S, C) latents at noise levels (B,)."""
        gains: Tensor = self.layers(time_features(1000 * sigma))
        return gains[:, None] * noisy


class Denoiser(nn.Module):
    """A FluxTransformer2DModel over packed latents; its output starts at zero, whatever it stands for.

    Args:
        settings: its size.
        skip: with the free skip.
    """

    def __init__(self, settings: NetworkSettings, skip: bool) -> None:
        super().__init__()
        self.transformer = build_transformer(**settings.model_dump())
        self.skip = FreeSkip() if skip else None

    def forward(self, noisy: Tensor, sigma: Tensor, pooled: Tensor, sequence: Tensor) -> Tensor:
        """What the network predicts, (B, 64, 32).

        Args:
            noisy: (B, 64, 32), packed.
            sigma: (B,).
            pooled, sequence: (B, 128) and (B, 16, 128), of the captions.
        """
        output: Tensor = self.transformer(
            hidden_states=noisy,
            encoder_hidden_states=sequence,
            pooled_projections=pooled,
            timestep=sigma,
            img_ids=latent_image_ids(),
            txt_ids=torch.zeros(TEXT_TOKENS, 3),
            return_dict=False,
        )[0]
        return output if self.skip is None else output + self.skip(noisy, sigma)
