"""`rheostat train wan-tiny-few`: a student of few steps, beside the weights it learns from.

pool -> 16-steps -> 8-steps -> 4-steps -> export -> evaluation

Needs the teacher's checkpoint folder. The encoded clips are those of its own training; where they are gone
they are made again. Every stage goes on from where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan

from protocol.methods import FEW_STEP, FEWER_STEPS
from protocol.plan import askable
from workers.engine import Engine
from workers.models import Model, load, picture_model
from workers.models.few_steps import FewStepsSettings
from workers.models.folder import digest_of
from workers.training.clips import Frames, unique_clips
from workers.training.ranks import train_in_ranks
from workers.training.resumable import Checkpoints, Deadline, Trainee
from workers.training.video.evaluation import figures
from workers.training.video.few_steps import FewStepsTrainee, Levels
from workers.training.video.judge import READER_FILE, load_clip_reader
from workers.training.video.pipeline_folder import TextToVideo, build_tokenizer
from workers.training.video.pool import build_pool, load_pool, tokenise
from workers.training.video.settings import WanTinyFewSettings
from workers.training.video.student_folder import load_teacher, served_schedule, write_student

_SOLVER = "euler"
"""A student's step is Euler's: that is what it was trained to land with."""
_ARMS = (FEW_STEP, FEWER_STEPS[0])
"""The student, and as many plain steps of its teacher."""


@dataclass(frozen=True)
class WanTinyFewRecipe:
    """The stages of a student over one cache folder.

    `teacher` is a checkpoint among those in `out`, or a folder.
    """

    cache: Path
    out: Path
    deadline: Deadline
    settings: WanTinyFewSettings = field(default_factory=WanTinyFewSettings)
    teacher: str = "wan-tiny"

    @property
    def work(self) -> Path:
        """The folder of this recipe's states."""
        return self.cache / f"{self.folder.name}-few"

    @property
    def folder(self) -> Path:
        """The teacher's, which the student is laid into."""
        return self.out / self.teacher

    @property
    def pool_path(self) -> Path:
        """Where the encoded clips are: the teacher's own."""
        return self.cache / "wan-tiny" / "pool.npy"

    def stages(self) -> dict[str, Callable[[], bool]]:
        """Name -> stage, in order; a stage returns False when the deadline stopped it."""
        halvings = {f"{steps}-steps": partial(self.halve, steps) for steps in self.settings.stages}
        return {"pool": self.pool, **halvings, "export": self.export, "evaluation": self.evaluation}

    def pool(self) -> bool:
        """Encode the training clips, unless the teacher's recipe has done so."""
        if self.pool_path.exists():
            return True
        self.pool_path.parent.mkdir(parents=True, exist_ok=True)
        autoencoder = AutoencoderKLWan.from_pretrained(self.folder / "vae", torch_dtype=torch.float32)
        return build_pool(autoencoder, self.settings.pool, self.pool_path, self.deadline)

    def halve(self, steps: int) -> bool:
        """Train the student of `steps` steps, one process a rank."""
        build = partial(few_steps_halving, folder=self.folder, pool_path=self.pool_path, steps=steps)
        checkpoints, num_steps = _states(self.settings, self.work, steps), self.settings.halving.num_steps
        return train_in_ranks(build, self.settings, checkpoints, num_steps, self.deadline)

    def export(self) -> bool:
        """Write the last student's averaged weights into the teacher's folder, its record beside them."""
        steps = self.settings.stages[-1]
        student = _trained(self.settings, self.work, self.folder, steps)
        told = FewStepsSettings(
            num_inference_steps=steps, solver=_SOLVER, teacher=digest_of(self.folder, students=False)
        )
        write_student(student.transformer, told, self.folder)
        record = {"recipe": self.work.name, "settings": self.settings.model_dump()}
        (self.folder / "training_few.json").write_text(json.dumps(record, indent=2) + "\n")
        return True

    def evaluation(self) -> bool:
        """Measure clips of unique held-out captions as they are served, into `evaluation.json`.

        The student stands beside as many plain steps of its teacher; bf16 weights, computed with in float32.
        """
        settings = self.settings.evaluation
        clips = unique_clips(settings.num_clips, settings.seed, "heldout")
        reader = load_clip_reader(self.out / "judges" / READER_FILE)
        model = picture_model(load(self.folder, dtype="float32"))
        report: dict[str, Any] = settings.model_dump()
        for method in _ARMS:
            if self.deadline.passed():
                return False
            made = self._served(model, method, [clip.caption for clip in clips])
            report[method] = figures(made, [clip.attributes for clip in clips], reader)
        (self.work / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")
        print("evaluation", report, flush=True)
        return True

    def _served(self, model: Model, method: str, captions: list[str]) -> list[Frames]:
        """One clip a caption, each from its own seed, on the budget of so many plain steps."""
        settings = self.settings.evaluation
        share = self.settings.stages[-1] / settings.num_inference_steps
        requests = [
            {
                "model": model.name,
                "input": {
                    "prompt": caption,
                    "seed": settings.seed + row,
                    "num_inference_steps": settings.num_inference_steps,
                },
                "compute_budget": {"fraction": askable(share), "methods": [method]},
            }
            for row, caption in enumerate(captions)
        ]
        videos = [result.samples[0].video for result in Engine(model).run(requests)]
        return [video for video in videos if video is not None]


def few_steps_halving(
    settings: WanTinyFewSettings, work: Path, rank: int, *, folder: Path, pool_path: Path, steps: int
) -> Trainee:
    """A rank of the halving that ends at `steps` steps."""
    tokenizer = build_tokenizer()
    teacher, model = (_trained(settings, work, folder, 2 * steps) for _ in range(2))
    levels = Levels(served_schedule(folder, 2 * steps))
    pool, empty = load_pool(pool_path, tokenizer), tokenise([""], tokenizer)
    return FewStepsTrainee(
        settings.halving, settings.seed, model, teacher, levels=levels, pool=pool, empty=empty, rank=rank
    )


def _trained(settings: WanTinyFewSettings, work: Path, folder: Path, steps: int) -> TextToVideo:
    """What runs in `steps` steps: a halving's averaged weights, or the teacher the first one begins with."""
    model = load_teacher(folder)
    if steps < settings.teacher_steps:
        checkpoints = _states(settings, work, steps)
        model.load_state_dict(checkpoints.load(checkpoints.latest())["average"])
    return model


def _states(settings: WanTinyFewSettings, work: Path, steps: int) -> Checkpoints:
    return Checkpoints(work, f"{steps}-steps", ranks=settings.halving.ranks)
