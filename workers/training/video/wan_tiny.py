"""Train the denoiser and its text encoder of `wan-tiny`: flow matching as for `flux-tiny`, in float32.

The network is fed 1000 sigma, and guidance is baked in at the end: a scale of 1, one lane, is enough.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.training.flow_matching import FlowTrainee, guided_target
from workers.training.optimisers import Optimisers
from workers.training.settings import TransformerSettings
from workers.training.video.architecture import LATENT_SHAPE, SIGMA_SHIFT
from workers.training.video.muon import FloatMuon
from workers.training.video.pipeline_folder import TextToVideo
from workers.training.video.pool import ClipPool


class WanTinyTrainee(FlowTrainee[TextToVideo]):
    """The video model's trainee."""

    name = "wan-tiny"
    latent_shape = LATENT_SHAPE
    sigma_shift = SIGMA_SHIFT

    def __init__(
        self,
        settings: TransformerSettings,
        seed: int,
        model: TextToVideo,
        pool: ClipPool,
        empty: Tensor,
        *,
        rank: int = 0,
    ) -> None:
        """`empty` is the empty caption's ids, (1, 24)."""
        optimisers = Optimisers(model, settings, rank, FloatMuon)
        super().__init__(settings, seed, model, optimisers, pool_size=len(pool.latents), rank=rank)
        self.pool, self.empty = pool, empty

    def loss(self, rows: Tensor, noise: Tensor, sigma: Tensor, dropped: Tensor, guided: bool) -> Tensor:
        clean = self.pool.whitened(rows)
        noisy = torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1, 1))
        # Whole rows are replaced, so a dropped row sees exactly what an empty prompt gives.
        ids = torch.where(dropped[:, None], self.empty, self.pool.ids[rows])
        target = noise - clean
        predicted = predict(self.model, noisy, sigma, ids)
        if guided:
            with torch.no_grad():
                unconditional = predict(self.model, noisy, sigma, self.empty)
                target = guided_target(target, predicted, unconditional, dropped, self.settings.guidance)
        return nn.functional.mse_loss(predicted, target)


def predict(model: TextToVideo, noisy: Tensor, sigma: Tensor, ids: Tensor) -> Tensor:
    """The network's velocity, (B, 8, 5, 8, 8); ids of one row serve all rows."""
    velocity: Tensor = model.transformer(
        hidden_states=noisy,
        timestep=1000 * sigma,
        encoder_hidden_states=encode_text(model, ids).expand(len(noisy), -1, -1),
        return_dict=False,
    )[0]
    return velocity


def encode_text(model: TextToVideo, ids: Tensor) -> Tensor:
    """Text embeddings (B, 24, 64), zero after a caption's end, as WanPipeline makes them."""
    mask = (ids != 0).long()
    hidden: Tensor = model.text_encoder(ids, mask).last_hidden_state
    return hidden * mask[..., None]
