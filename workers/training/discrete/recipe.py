"""What the recipes of discrete models share: training in ranks, the folder, samples of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from protocol.vocabularies import CharacterVocabulary, ChoraleVocabulary
from workers.models import load
from workers.models.folder import digest_of
from workers.models.sedd import Sedd
from workers.models.sedd_pipeline import SeddPipeline, build
from workers.models.sedd_pipeline import cast as cast_weights
from workers.training.discrete.sampling import Given, sample_in_parts
from workers.training.discrete.settings import SampleSettings, SeddSettings
from workers.training.discrete.trainee import config_of
from workers.training.pipeline_folder import place_folder
from workers.training.ranks import Build, train_in_ranks, transformer_checkpoints
from workers.training.resumable import Deadline
from workers.training.settings import Settings

Vocabulary = CharacterVocabulary | ChoraleVocabulary


@dataclass(frozen=True)
class Workshop:
    """One discrete recipe's folders and the stages that do not differ between recipes.

    Attributes:
        name: of the recipe and of the model it makes.
        cache, out: see `workers.training.recipes.train`.
        deadline: of the call.
        settings: the whole recipe's, as they are recorded.
    """

    name: str
    cache: Path
    out: Path
    deadline: Deadline
    settings: Settings

    @property
    def work(self) -> Path:
        """The folder of this recipe's states."""
        return self.cache / self.name

    @property
    def folder(self) -> Path:
        """Where the checkpoint goes."""
        return self.out / self.name

    def train(self, build_rank: Build, settings: SeddSettings) -> bool:
        """Train the denoiser, one process a rank."""
        checkpoints = transformer_checkpoints(settings, self.work)
        return train_in_ranks(build_rank, self.settings, checkpoints, settings.num_steps, self.deadline)

    def export(self, settings: SeddSettings, vocabulary: Vocabulary, length: int) -> bool:
        """Write the averaged weights of the newest checkpoint as a folder in bf16, settings beside them.

        May be called while the denoiser is in training.
        """
        checkpoints = transformer_checkpoints(settings, self.work)
        step = checkpoints.latest()
        average = checkpoints.load(step)["average"]
        weights = {name.removeprefix("transformer."): value for name, value in average.items()}
        network = build(config_of(settings, vocabulary.size, length), weights)
        noise = {"_class_name": "LogLinearNoise", "eps": settings.noise_eps}
        record = {"recipe": self.name, "step": step, "settings": self.settings.model_dump()}
        pipeline = SeddPipeline(cast_weights(network, torch.bfloat16), vocabulary, noise)
        place_folder(pipeline.save_pretrained, self.folder, {"training.json": record})
        return True

    def load(self) -> Sedd:
        """The exported model: bf16 weights, computed with in float32."""
        return cast(Sedd, load(self.folder, dtype="float32"))

    def samples(
        self, settings: SampleSettings, kind: str, given: Given | None = None
    ) -> NDArray[np.int64] | None:
        """Samples of the exported model, kept for these weights and settings; None when time was up."""
        numbers = (settings.seed, settings.evaluations, settings.batch, settings.num_samples)
        parts = self.work / "-".join((kind, digest_of(self.folder)[:12], *map(str, numbers)))
        return sample_in_parts(self.load(), settings, parts, self.deadline, given)

    def record(self, report: dict[str, Any]) -> None:
        """Write `evaluation.json` and print it."""
        step = json.loads((self.folder / "training.json").read_text())["step"]
        report = {"step": step, **report}
        (self.work / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")
        print("evaluation", report, flush=True)
