"""The loss of a target, in velocity space whatever the network predicts. The readout alone differs.

Source: Fu et al. 2026 (JLT, arXiv:2605.27102), appendix A and public code, with t = 1 - sigma.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.core import Prediction, to_flow
from workers.training.jlt.settings import JltTrainingSettings


def levels(
    count: int, generator: torch.Generator, settings: JltTrainingSettings, *, centred: bool = False
) -> Tensor:
    """Noise levels (B,): 1 - sigma is the sigmoid of a normal number; the median of JLT's is .69.

    Centred ones are made of the standard normal number itself.
    """
    normal = torch.randn(count, generator=generator)
    return 1 - torch.sigmoid(normal if centred else settings.level_mean + settings.level_spread * normal)


def loss_of(
    prediction: Prediction, output: Tensor, clean: Tensor, noise: Tensor, sigma: Tensor, *, clamp: float
) -> Tensor:
    """Mean square of the velocity's error, target and prediction made velocities by the same division.

    Args:
        prediction: what `output` (B, S, C) estimates.
        clean, noise: (B, S, C); the network saw (1 - sigma) clean + sigma noise.
        sigma: (B,).
        clamp: the least denominator; a flow has none. So x0's error counts 1 / sigma^2 times, at most
            1 / clamp^2.
    """
    at = sigma.view(-1, 1, 1)
    noisy = torch.lerp(clean, noise, at)
    truth = {Prediction.FLOW: noise - clean, Prediction.X0: clean, Prediction.EPS: noise}[prediction]
    predicted, wanted = (to_flow(prediction, each, noisy, at, clamp) for each in (output, truth))
    return nn.functional.mse_loss(predicted, wanted)
