"""`rheostat train chorale-tiny`: corpus -> transformer -> export -> evaluation.

Every stage leaves its result in the cache folder; a stage whose result is there is passed by. What the
repository carries (the corpus, the checkpoint) is written to its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.music import PARTS
from workers.training.chorales import (
    CHORALE_VOCABULARY,
    CORPUS_PATH,
    STEPS,
    Split,
    load_windows,
    sample_chorales,
)
from workers.training.discrete.chorale_corpus import build_corpus
from workers.training.discrete.chorale_evaluation import chorale_figures
from workers.training.discrete.recipe import Workshop
from workers.training.discrete.settings import ChoraleTinySettings
from workers.training.discrete.sources import ChoraleSource
from workers.training.discrete.trainee import DiscreteTrainee
from workers.training.resumable import Deadline, Trainee


@dataclass(frozen=True)
class ChoraleTinyRecipe:
    """The stages of `chorale-tiny` over one cache folder."""

    cache: Path
    out: Path
    deadline: Deadline
    settings: ChoraleTinySettings = field(default_factory=ChoraleTinySettings)

    @property
    def shop(self) -> Workshop:
        """Its folders."""
        return Workshop("chorale-tiny", self.cache, self.out, self.deadline, self.settings)

    def stages(self) -> dict[str, Callable[[], bool]]:
        """Name -> stage, in order; a stage returns False when the deadline stopped it."""
        return {
            "corpus": self.corpus,
            "transformer": self.transformer,
            "export": self.export,
            "evaluation": self.evaluation,
        }

    def corpus(self) -> bool:
        """Cut the chorales out of music21, unless the clone has them."""
        if not CORPUS_PATH.exists():
            build_corpus(CORPUS_PATH)
        return True

    def transformer(self) -> bool:
        """Train the denoiser, one process a rank."""
        return self.shop.train(chorale_transformer, self.settings.transformer)

    def export(self) -> bool:
        """Write the checkpoint folder."""
        return self.shop.export(self.settings.transformer, CHORALE_VOCABULARY, len(PARTS) * STEPS)

    def evaluation(self) -> bool:
        """Measure chorales made freely, and made under held-out sopranos, into `evaluation.json`.

        The arm "real" are as many windows of the calibration split: the floor. The reference is held out.
        """
        settings = self.settings.evaluation
        real, reference = (
            drawn(settings.num_samples, settings.seed, split) for split in ("calibration", "heldout")
        )
        free = self.shop.samples(settings, "free")
        harmonised = self.shop.samples(settings, "harmonised", sopranos(reference))
        if free is None or harmonised is None:
            return False
        shape = (-1, len(PARTS), STEPS)
        arms = {"free": free.reshape(shape), "harmonised": harmonised.reshape(shape), "real": real}
        figures = chorale_figures(arms, reference, load_windows("train").tokens, draws=settings.draws)
        self.shop.record({**settings.model_dump(), **figures})
        return True


def chorale_transformer(settings: ChoraleTinySettings, work: Path, rank: int) -> Trainee:
    """A rank of the transformer stage."""
    source = ChoraleSource(load_windows("train"))
    return DiscreteTrainee(settings.transformer, "chorale-tiny", settings.seed, source, rank=rank)


def drawn(n: int, seed: int, split: Split) -> NDArray[np.int64]:
    """Windows of a split, (n, 4, 64)."""
    return np.stack([chorale.tokens for chorale in sample_chorales(n, seed, split)])


def sopranos(chorales: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The first voice of each, as what is given: where, and the tokens, (N, 256) each."""
    tokens = torch.from_numpy(chorales).flatten(1)
    given = (torch.arange(tokens.shape[1]) < STEPS).expand_as(tokens)
    return given, tokens
