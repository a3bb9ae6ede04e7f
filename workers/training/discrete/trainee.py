"""Train a discrete denoiser on windows of a corpus: Muon and AdamW, averaged weights, ranks."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from workers.models.sedd_modules import SEDD, SeddConfig
from workers.training.averaging import AveragedTrainee
from workers.training.discrete.losses import (
    Noised,
    add_noise,
    clean_token_entropy,
    score_entropy,
    spread_times,
)
from workers.training.discrete.settings import SeddSettings
from workers.training.optimisers import Optimisers
from workers.training.resumable import step_seed
from workers.training.video.muon import FloatMuon


class Source(Protocol):
    """Where clean sequences come from."""

    vocabulary: int
    length: int

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Sequences (count, length), int64."""
        ...

    def given(self, count: int, generator: torch.Generator) -> Tensor:
        """For each of `count` rows the places a request might give, (count, length), bool."""
        ...


class Denoiser(nn.Module):
    """The network under the name by which the optimisers find its blocks."""

    def __init__(self, settings: SeddSettings, vocabulary: int, length: int) -> None:
        super().__init__()
        self.transformer = SEDD(config_of(settings, vocabulary, length))


def config_of(settings: SeddSettings, vocabulary: int, length: int) -> SeddConfig:
    """The network's config, as it is exported."""
    return SeddConfig(
        tokens=vocabulary, length=length, **settings.model_dump(include=set(SeddConfig.model_fields))
    )


class DiscreteTrainee(AveragedTrainee[Denoiser]):
    """One rank; all ranks hold the same weights, each takes its slice of the batch."""

    settings: SeddSettings

    def __init__(
        self, settings: SeddSettings, name: str, seed: int, source: Source, *, rank: int = 0
    ) -> None:
        """`name` of the recipe, for the seeds."""
        torch.manual_seed(step_seed(f"{name}-weights", seed))
        model = Denoiser(settings, source.vocabulary, source.length)
        super().__init__(settings, model, Optimisers(model, settings, rank, FloatMuon))
        self.name, self.seed, self.source, self.rank = name, seed, source, rank

    def step(self, index: int) -> float:
        """One optimiser step; batch and noise depend on (seed, index) and not on the number of ranks."""
        loss = self._loss_of(index)
        torch.autograd.backward(loss)
        self.optimisers.step(index)
        self.average_weights(index)
        return float(loss.detach())

    def _loss_of(self, index: int) -> Tensor:
        """The loss of this rank's slice of batch `index`."""
        settings, source = self.settings, self.source
        generator = torch.Generator().manual_seed(step_seed(self.name, self.seed, index))
        clean = source.draw(settings.batch, generator)
        chosen = torch.rand(settings.batch, 1, generator=generator) < settings.given_share
        given = source.given(settings.batch, generator) & chosen
        times = spread_times(settings.batch, generator)
        vocabulary, eps = source.vocabulary, settings.noise_eps
        noised = add_noise(clean, given, times, vocabulary=vocabulary, eps=eps, generator=generator)
        mine = slice(self.rank, None, settings.ranks)
        torch.manual_seed(step_seed(self.name, self.seed, index, self.rank))  # dropout's
        return self._loss(Noised(*(part[mine] for part in noised)), clean[mine], given[mine])

    def _loss(self, noised: Noised, clean: Tensor, given: Tensor) -> Tensor:
        """The mean over the tokens that were not given."""
        network = self.model.transformer
        raw = network.raw(noised.tokens, noised.sigma)
        if self.settings.loss == "cross_entropy":
            losses = clean_token_entropy(raw, noised, clean)
        else:
            log_ratios = network.log_ratios(raw, noised.tokens, noised.sigma)
            losses = noised.rate[:, None] * score_entropy(log_ratios, noised, clean)
        return (losses * ~given).sum() / (~given).sum()
