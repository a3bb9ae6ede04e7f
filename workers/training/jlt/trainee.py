"""One run: flow matching as for the small models, on one target."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.training.fast_attention import use_product_attention
from workers.training.flow_matching import FlowTrainee
from workers.training.jlt.latents import LatentPool, frame_of
from workers.training.jlt.network import TOKEN_CHANNELS, Denoiser
from workers.training.jlt.objective import levels, loss_of
from workers.training.jlt.settings import Arm, JltSettings
from workers.training.optimisers import Optimisers
from workers.training.resumable import step_seed
from workers.training.video.muon import FloatMuon


class JltTrainee(FlowTrainee[Denoiser]):
    """Rows, noise, levels and dropped captions of a step depend on the arm's seed and on nothing else of it.

    So do the first weights: arms of one seed start as one network and see one stream of data.
    """

    name = "jlt"
    latent_shape = (64, TOKEN_CHANNELS)

    def __init__(self, settings: JltSettings, arm: Arm, pool: LatentPool) -> None:
        self.arm, self.pool, self.training = arm, pool, settings.training
        self.frame = frame_of(pool.latents, arm.latents)
        model = build_network(settings, arm)
        use_product_attention(model.transformer)
        optimisers = Optimisers(model, self.training, 0, FloatMuon)
        super().__init__(self.training, arm.seed, model, optimisers, pool_size=len(pool.latents), rank=0)

    def levels(self, count: int, generator: torch.Generator) -> Tensor:
        return levels(count, generator, self.training, centred=self.arm.centred)

    def loss(self, rows: Tensor, noise: Tensor, sigma: Tensor, dropped: Tensor, guided: bool) -> Tensor:
        assert not guided, "guidance is given when samples are drawn"
        clean = self.frame.enter(self.pool.latents[rows].float())
        noisy = torch.lerp(clean, noise, sigma.view(-1, 1, 1))
        output = self.model(noisy, sigma, *self.pool.texts(rows, dropped))
        return loss_of(self.arm.target, output, clean, noise, sigma, clamp=self.training.clamp)


def build_network(settings: JltSettings, arm: Arm) -> Denoiser:
    """The arm's network before training; the transformer's weights depend on the seed alone."""
    torch.manual_seed(step_seed("jlt-weights", arm.seed))
    return Denoiser(settings.network, arm.skip)
