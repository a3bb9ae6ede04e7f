"""Train the denoiser and its text encoders of `flux-tiny`: flow matching, Muon and AdamW, in bf16."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.training.architecture import SIGMA_SHIFT, TEXT_TOKENS, latent_image_ids
from workers.training.flow_matching import FlowTrainee, guided_target
from workers.training.optimisers import Optimisers
from workers.training.pipeline_folder import TextToLatent
from workers.training.pool import Pool, TextIds
from workers.training.settings import TransformerSettings


class FluxTinyTrainee(FlowTrainee[TextToLatent]):
    """The image model's trainee; its latents are packed."""

    name = "flux-tiny"
    latent_shape = (64, 32)
    sigma_shift = SIGMA_SHIFT

    def __init__(
        self,
        settings: TransformerSettings,
        seed: int,
        model: TextToLatent,
        pool: Pool,
        empty: TextIds,
        *,
        rank: int = 0,
    ) -> None:
        """`empty` is the empty caption's ids, one row."""
        optimisers = Optimisers(model, settings, rank)
        super().__init__(settings, seed, model, optimisers, pool_size=len(pool.latents), rank=rank)
        self.pool, self.empty = pool, empty

    def loss(self, rows: Tensor, noise: Tensor, sigma: Tensor, dropped: Tensor, guided: bool) -> Tensor:
        clean = self.pool.packed(rows)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        text = self.pool.text.take(rows)
        # Whole rows are replaced, so a dropped row sees exactly what an empty prompt gives.
        text = TextIds(
            torch.where(dropped[:, None], self.empty.clip, text.clip),
            torch.where(dropped[:, None], self.empty.t5, text.t5),
        )
        target = noise - clean
        predicted = predict(self.model, noisy, sigma, text)
        if guided:
            with torch.no_grad():
                unconditional = predict(self.model, noisy, sigma, self.empty)
                target = guided_target(target, predicted, unconditional, dropped, self.settings.guidance)
        return nn.functional.mse_loss(predicted, target)


def predict(model: TextToLatent, noisy: Tensor, sigma: Tensor, text: TextIds) -> Tensor:
    """The network's velocity (B, 64, 32) in float32, computed in bf16; text of one row serves all rows."""
    with torch.autocast("cpu", torch.bfloat16):
        pooled = model.clip(input_ids=text.clip).pooler_output
        sequence = model.t5(input_ids=text.t5)[0]
        velocity = model.transformer(
            hidden_states=noisy,
            encoder_hidden_states=sequence.expand(len(noisy), -1, -1).contiguous(),
            pooled_projections=pooled.expand(len(noisy), -1).contiguous(),
            timestep=sigma,
            img_ids=latent_image_ids(),
            txt_ids=torch.zeros(TEXT_TOKENS, 3),
            return_dict=False,
        )[0]
    result: Tensor = velocity.float()
    return result
