"""`rheostat train text-tiny`: corpus -> judge -> transformer -> export -> evaluation.

Every stage leaves its result in the cache folder; a stage whose result is there is passed by. What the
repository carries (the reader, the checkpoint) is written to its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.training.discrete.language_judge import (
    LANGUAGE_JUDGE_FILE,
    LanguageJudgeTrainee,
    load_language_judge,
    save_language_judge,
)
from workers.training.discrete.recipe import Workshop
from workers.training.discrete.settings import TextTinySettings
from workers.training.discrete.sources import TextSource
from workers.training.discrete.text_evaluation import text_figures
from workers.training.discrete.trainee import DiscreteTrainee
from workers.training.discrete.wordnet import Split
from workers.training.resumable import Checkpoints, Deadline, Trainee, run
from workers.training.texts import TEXT_LENGTH, VOCABULARY, TextCorpus, load_texts, sample_texts


@dataclass(frozen=True)
class TextTinyRecipe:
    """The stages of `text-tiny` over one cache folder."""

    cache: Path
    out: Path
    deadline: Deadline
    settings: TextTinySettings = field(default_factory=TextTinySettings)

    @property
    def shop(self) -> Workshop:
        """Its folders."""
        return Workshop("text-tiny", self.cache, self.out, self.deadline, self.settings)

    def stages(self) -> dict[str, Callable[[], bool]]:
        """Name -> stage, in order; a stage returns False when the deadline stopped it."""
        return {
            "corpus": self.corpus,
            "judge": self.judge,
            "transformer": self.transformer,
            "export": self.export,
            "evaluation": self.evaluation,
        }

    def corpus(self) -> bool:
        """Fetch and part the glosses, unless the cache has them."""
        for split in ("train", "judge"):
            cached_texts(split, self.cache)
        return True

    def judge(self) -> bool:
        """Train the reader of texts on its own split and write its weights in half precision."""
        corpus = cached_texts("judge", self.cache)
        trainee = LanguageJudgeTrainee(self.settings.judge, self.settings.seed, corpus)
        if not run(trainee, Checkpoints(self.shop.work, "judge"), self.deadline):
            return False
        save_language_judge(trainee.network, self.judge_path)
        return True

    def transformer(self) -> bool:
        """Train the denoiser, one process a rank."""
        return self.shop.train(text_transformer, self.settings.transformer)

    def export(self) -> bool:
        """Write the checkpoint folder."""
        return self.shop.export(self.settings.transformer, VOCABULARY, TEXT_LENGTH)

    def evaluation(self) -> bool:
        """Measure generated texts against held-out ones, into `evaluation.json`.

        The arm "real" are as many texts of the calibration split: the floor. The reference is held out.
        """
        settings = self.settings.evaluation
        generated = self.shop.samples(settings, "texts")
        if generated is None:
            return False
        real, reference = (
            encoded(sample_texts(settings.num_samples, settings.seed, split))
            for split in ("calibration", "heldout")
        )
        judge, corpus = load_language_judge(self.judge_path), cached_texts("train", self.cache)
        arms = {"generated": generated, "real": real}
        figures = text_figures(arms, reference, judge, corpus.tokens, draws=settings.draws)
        self.shop.record({**settings.model_dump(), **figures})
        return True

    @property
    def judge_path(self) -> Path:
        """Where the reader's weights go."""
        return self.out / "judges" / LANGUAGE_JUDGE_FILE


def text_transformer(settings: TextTinySettings, work: Path, rank: int) -> Trainee:
    """A rank of the transformer stage."""
    source = TextSource(cached_texts("train", work.parent))
    return DiscreteTrainee(settings.transformer, "text-tiny", settings.seed, source, rank=rank)


def cached_texts(split: Split, cache: Path) -> TextCorpus:
    """A split's corpus in a recipe's cache."""
    return load_texts(split, cache / "texts")


def encoded(texts: list[str]) -> NDArray[np.int64]:
    """Texts as tokens (N, 128)."""
    return np.array([VOCABULARY.encode(text) for text in texts], dtype=np.int64)
