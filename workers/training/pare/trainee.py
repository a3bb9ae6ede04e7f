"""Both stages of training: the pruned student with all its blocks, then student and router together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from workers.core import Network
from workers.core.pare_router import DepthRouter
from workers.training.averaging import AveragedTrainee
from workers.training.flow_matching import sample_sigma
from workers.training.pare.forward import batch_of, evaluate
from workers.training.pare.losses import student_loss
from workers.training.pare.optimiser import StudentOptimisers
from workers.training.pare.routing import Chooser
from workers.training.pare.settings import LossSettings, StageSettings
from workers.training.pare.sharding import in_step, load_local, local
from workers.training.pare.sources import Source
from workers.training.resumable import step_seed


class Student(nn.Module):
    """The pruned transformer, and its router in the second stage."""

    def __init__(self, transformer: Any, router: DepthRouter | None = None) -> None:
        super().__init__()
        self.transformer, self.router = transformer, router


@dataclass(frozen=True)
class Lesson:
    """What both stages share.

    Attributes:
        teacher, student: networks; the student's is over the transformer of the `Student` in training.
        source: clips and text.
        shift: of the teacher's noise levels.
        losses: their weights.
        sharded: whether the student's blocks lie spread over the ranks.
        device: of the forwards.
        dtype: the teacher's.
    """

    teacher: Network
    student: Network
    source: Source
    shift: float
    losses: LossSettings
    sharded: bool = False
    device: str = "cpu"
    dtype: torch.dtype = torch.float32


class StudentTrainee(AveragedTrainee[Student]):
    """One rank of a stage; all ranks hold the same weights, each takes its slice of the batch."""

    def __init__(
        self,
        stage: str,
        settings: StageSettings,
        seed: int,
        model: Student,
        *,
        lesson: Lesson,
        chooser: Chooser,
        rank: int = 0,
    ) -> None:
        """`chooser` says which blocks run; of kind `none` in the first stage."""
        self.stage, self.stage_settings, self.seed, self.rank = stage, settings, seed, rank
        self.lesson, self.chooser = lesson, chooser
        super().__init__(settings, model.train(), StudentOptimisers(model, settings, rank))

    def step(self, index: int) -> float:
        """One optimiser step; clips and noise depend on (seed, index) and not on the number of ranks."""
        settings, source = self.stage_settings, self.lesson.source
        generator = torch.Generator().manual_seed(step_seed("pare", self.stage, self.seed, index))
        rows = torch.randint(len(source), (settings.batch,), generator=generator)
        noise = torch.randn(settings.batch, *source.latent_shape, generator=generator)
        sigma = sample_sigma(settings.batch, generator, self.lesson.shift)
        dropped = torch.rand(settings.batch, generator=generator) < settings.caption_dropout
        mine = slice(self.rank, None, settings.ranks)
        loss = self._loss(rows[mine], noise[mine], sigma[mine], dropped[mine], generator)
        torch.autograd.backward(loss)
        self.optimisers.step(index)
        self.average_weights(index)
        return float(loss.detach())

    def _loss(
        self, rows: Tensor, noise: Tensor, sigma: Tensor, dropped: Tensor, generator: torch.Generator
    ) -> Tensor:
        lesson, device = self.lesson, self.lesson.device
        clean = lesson.source.latents(rows).to(device)
        noise, sigma = noise.to(device), sigma.to(device)
        text = torch.where(dropped[:, None, None], lesson.source.empty, lesson.source.text(rows)).to(device)
        batch = batch_of(torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1, 1)), sigma, text)
        routes = self.chooser.routes(batch, generator, probed_share=self.stage_settings.probed_share)
        order = torch.randperm(lesson.student.layout.num_blocks, generator=generator).tolist()
        taken = [index for index in order if routes is None or bool(routes.run[:, index].any())]
        watched = taken[: lesson.losses.watched_blocks]
        if routes is not None and lesson.sharded:
            routes = in_step(routes)
        with torch.no_grad():
            theirs = replace(batch, condition=(text.to(lesson.dtype),))
            taught = evaluate(lesson.teacher, theirs, watched=watched)
        learned = evaluate(lesson.student, batch, routes=routes, watched=watched)
        return student_loss(learned, taught, noise - clean, routes, lesson.losses)

    def weights(self) -> dict[str, Tensor]:
        """This rank's part of them."""
        state: dict[str, Tensor] = local(self.model.state_dict())
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same rank."""
        load_local(self.model, state["model"])
        self.average = state["average"]
        self.optimisers.load_state_dict(state["optimisers"])
