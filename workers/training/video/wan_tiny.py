"""Train the denoiser and its text encoder: flow matching as for `flux-tiny`, in float32.

The target is v = noise - x0 at x = (1 - sigma) x0 + sigma noise, the network is fed 1000 sigma, and guidance
is baked in at the end (see `workers.training.flux_tiny`), so that a guidance scale of 1, one lane, is enough.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.training.averaging import AveragedTrainee
from workers.training.flux_tiny import guided_target, sample_sigma
from workers.training.optimisers import Optimisers
from workers.training.resumable import step_seed
from workers.training.settings import TransformerSettings
from workers.training.video.architecture import LATENT_SHAPE, SIGMA_SHIFT
from workers.training.video.muon import FloatMuon
from workers.training.video.pipeline_folder import TextToVideo
from workers.training.video.pool import ClipPool


class WanTinyTrainee(AveragedTrainee[TextToVideo]):
    """One rank of the joint training; all ranks hold the same weights, each takes its slice of the batch."""

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
        super().__init__(settings, model, Optimisers(model, settings, rank, FloatMuon))
        self.seed, self.pool, self.empty, self.rank = seed, pool, empty, rank

    def step(self, index: int) -> float:
        """One optimiser step; the global batch depends on (seed, index) and not on the number of ranks."""
        settings = self.settings
        generator = torch.Generator().manual_seed(step_seed("wan-tiny", self.seed, index))
        rows = torch.randint(len(self.pool.latents), (settings.batch,), generator=generator)
        noise = torch.randn(settings.batch, *LATENT_SHAPE, generator=generator)
        sigma = sample_sigma(settings.batch, generator, SIGMA_SHIFT)
        dropped = torch.rand(settings.batch, generator=generator) < settings.caption_dropout
        mine = slice(self.rank, None, settings.ranks)
        guided = index >= settings.num_steps - settings.guided_steps
        loss = self._loss(rows[mine], noise[mine], sigma[mine], dropped[mine], guided)
        torch.autograd.backward(loss)
        self.optimisers.step(index)
        self.average_weights(index)
        return float(loss.detach())

    def _loss(self, rows: Tensor, noise: Tensor, sigma: Tensor, dropped: Tensor, guided: bool) -> Tensor:
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
