"""Train the denoiser and its text encoders: flow matching, Muon and AdamW, guidance baked in at the end.

The target is v = noise - x0 at x = (1 - sigma) x0 + sigma noise. In the last `guided_steps` it becomes
v + w (model(x, caption) - model(x, "")), both without gradient ("Diffusion models without classifier-free
guidance", Tang et al. 2025, equation 8): one lane then samples as guidance 1 / (1 - w) would with two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.training.architecture import SIGMA_SHIFT, TEXT_TOKENS, latent_image_ids
from workers.training.averaging import AveragedTrainee
from workers.training.optimisers import Optimisers
from workers.training.pipeline_folder import TextToLatent
from workers.training.pool import Pool, TextIds
from workers.training.resumable import step_seed
from workers.training.settings import TransformerSettings

_UNIFORM_SHARE = 0.15  # of the noise levels are uniform, so that neither end is forgotten


class FluxTinyTrainee(AveragedTrainee[TextToLatent]):
    """One rank of the joint training; all ranks hold the same weights, each takes its slice of the batch."""

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
        super().__init__(settings, model, Optimisers(model, settings, rank))
        self.seed, self.pool, self.empty, self.rank = seed, pool, empty, rank

    def step(self, index: int) -> float:
        """One optimiser step; the global batch depends on (seed, index) and not on the number of ranks."""
        settings = self.settings
        generator = torch.Generator().manual_seed(step_seed("flux-tiny", self.seed, index))
        rows = torch.randint(len(self.pool.latents), (settings.batch,), generator=generator)
        noise = torch.randn(settings.batch, 64, 32, generator=generator)
        sigma = sample_sigma(settings.batch, generator)
        dropped = torch.rand(settings.batch, generator=generator) < settings.caption_dropout
        mine = slice(self.rank, None, settings.ranks)
        guided = index >= settings.num_steps - settings.guided_steps
        loss = self._loss(rows[mine], noise[mine], sigma[mine], dropped[mine], guided)
        torch.autograd.backward(loss)
        self.optimisers.step(index)
        self.average_weights(index)
        return float(loss.detach())

    def _loss(self, rows: Tensor, noise: Tensor, sigma: Tensor, dropped: Tensor, guided: bool) -> Tensor:
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


def guided_target(
    target: Tensor, predicted: Tensor, unconditional: Tensor, dropped: Tensor, weight: float
) -> Tensor:
    """The target of rows that see their caption, moved away from the prediction without one (equation 8)."""
    rows = dropped.view(-1, *(1,) * (target.ndim - 1))
    return target + torch.where(rows, 0.0, weight * (predicted - unconditional))


def sample_sigma(count: int, generator: torch.Generator, shift: float = SIGMA_SHIFT) -> Tensor:
    """Noise levels (B,): logit-normal with a uniform share, shifted as the scheduler shifts its grid."""
    normal = torch.sigmoid(torch.randn(count, generator=generator))
    uniform = torch.rand(count, generator=generator)
    choose = torch.rand(count, generator=generator) < _UNIFORM_SHARE
    level = torch.where(choose, uniform, normal)
    return shift * level / (1 + (shift - 1) * level)


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
