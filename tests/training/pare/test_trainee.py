"""Both stages go on bit for bit where they stopped; a rank whose rows skip a block still has gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.utils._pytree import tree_leaves

from tests.training.resuming import resumed_and_through
from workers.core.pare_router import DepthRouter
from workers.models.pare import KeptBlock, Pare
from workers.models.wan import Wan
from workers.training.pare.optimiser import Adam, StudentOptimisers
from workers.training.pare.routing import Chooser
from workers.training.pare.settings import LossSettings, PareSettings, StageSettings
from workers.training.pare.slicing import slice_student
from workers.training.pare.sources import ClipSource
from workers.training.pare.stages import load_teacher, student_network
from workers.training.pare.trainee import Lesson, Student, StudentTrainee

KEPT = KeptBlock(self_heads=(0, 2, 3), cross_heads=(0, 2, 3), neurons=tuple(range(320)))
PARE = Pare(teacher="", blocks=(KEPT,) * 4, least_blocks=2, most_blocks=3.4)
STAGE = StageSettings(num_steps=4, warmup_steps=1, decay_steps=2, batch=3, ranks=1, probed_share=0.5)


def trainee(teacher: Wan, source: ClipSource, stage: str, settings: StageSettings = STAGE) -> StudentTrainee:
    """A student of its own, cut anew; `route` has a router."""
    transformer = slice_student(teacher.pipeline.transformer, PARE, None)
    lesson = Lesson(
        teacher=teacher.network,
        student=student_network(transformer, teacher, PARE),
        source=source,
        shift=3.0,
        losses=LossSettings(watched_blocks=2),
    )
    torch.manual_seed(1)
    router = DepthRouter(torch.tensor([0.0, 0.3, 0.1, 0.0]), 8) if stage == "route" else None
    chooser = Chooser("content", 4, 2, 3.4, router) if router else Chooser("none", 4, 4, 4)
    return StudentTrainee(stage, settings, 3, Student(transformer, router), lesson=lesson, chooser=chooser)


@pytest.mark.parametrize("stage", ["distil", "route"])
def test_stopped_and_resumed_equals_run_through(
    teacher: Wan, source: ClipSource, tmp_path: Path, stage: str
) -> None:
    resumed, through = resumed_and_through(lambda: trainee(teacher, source, stage), tmp_path)
    ours, theirs = tree_leaves(resumed), tree_leaves(through)
    assert len(ours) == len(theirs) > 10
    tensors = [pair for pair in zip(ours, theirs, strict=True) if isinstance(pair[0], torch.Tensor)]
    assert all(torch.equal(left, right) for left, right in tensors)


@pytest.mark.parametrize("stage", ["distil", "route"])
def test_the_student_comes_nearer_and_the_teacher_stays(teacher: Wan, source: ClipSource, stage: str) -> None:
    before = {name: value.clone() for name, value in teacher.pipeline.transformer.state_dict().items()}
    # With the router at rest the same rows run the same blocks at every step.
    learner = trainee(teacher, source, stage, STAGE.model_copy(update={"router_rate": 0.0}))
    # The error against noise - clip has a floor that no student comes below.
    learner.lesson = replace(learner.lesson, losses=LossSettings(data=0.0))
    losses = [learner.step(0) for _ in range(8)]
    assert losses[-1] < 0.8 * losses[0]
    after = teacher.pipeline.transformer.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_router_learns(teacher: Wan, source: ClipSource) -> None:
    learner = trainee(teacher, source, "route")
    before = {name: value.clone() for name, value in learner.model.router.state_dict().items()}
    learner.step(0)
    after = learner.model.router.state_dict()
    assert not torch.equal(before["layers.4.weight"], after["layers.4.weight"])
    assert not torch.equal(before["layers.4.bias"], after["layers.4.bias"])


def test_a_rank_s_rows_do_not_depend_on_the_number_of_ranks(teacher: Wan, source: ClipSource) -> None:
    """Two ranks see together what one sees: here their slices of the same batch, by the latents asked for."""
    asked: list[list[int]] = []

    class Watched(ClipSource):
        def latents(self, rows: torch.Tensor) -> torch.Tensor:
            asked.append(rows.tolist())
            return super().latents(rows)

    watched = Watched(source.pool, teacher.pipeline)
    trainee(teacher, watched, "distil", STAGE.model_copy(update={"batch": 4})).step(0)
    halves = [trainee(teacher, watched, "distil", STAGE.model_copy(update={"batch": 4})) for _ in range(2)]
    for rank, half in enumerate(halves):
        half.rank, half.stage_settings = rank, half.stage_settings.model_copy(update={"ranks": 2})
        half.step(0)
    whole, first, second = asked
    assert (first, second) == (whole[0::2], whole[1::2])


def test_what_no_row_touched_is_exchanged_as_zero() -> None:
    """Ranks that skip different blocks would else exchange lists of different lengths."""
    model = torch.nn.ModuleDict({"transformer": torch.nn.ModuleDict({"blocks": torch.nn.Linear(2, 2)})})
    settings = StageSettings(ranks=1, muon_rate=0.0)
    optimisers = StudentOptimisers(model, settings, 0)
    seen: list[Any] = []
    part = optimisers.parts["transformer"]
    assert isinstance(part, Adam)
    original: Callable[[int], None] = part.step

    def step(index: int) -> None:
        seen.extend(parameter.grad for parameter in model.parameters())
        original(index)

    part.step = step  # type: ignore[method-assign]
    optimisers.step(0)
    assert [each.tolist() for each in seen] == [[[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]]


def test_a_router_of_fixed_blocks_is_not_trained() -> None:
    router = DepthRouter(torch.zeros(4), 0).requires_grad_(False)
    student = Student(torch.nn.ModuleDict({"blocks": torch.nn.Linear(2, 2)}), router)
    assert set(StudentOptimisers(student, StageSettings(ranks=1), 0).parts) == {"transformer"}


def test_a_teacher_in_bfloat16_teaches_a_student_in_float32(teacher_folder: Path, source: ClipSource) -> None:
    narrow = load_teacher(teacher_folder, PareSettings(dtype="bfloat16"))
    learner = trainee(narrow, source, "route")
    learner.lesson = replace(learner.lesson, dtype=narrow.dtype)
    assert learner.step(0) > 0
    assert {value.dtype for value in learner.weights().values()} == {torch.float32}


def test_sharding_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(ValidationError, match="ranks of at least 2 and a muon_rate of 0"):
        PareSettings(sharding="fsdp")
    adam = StageSettings(muon_rate=0.0)
    assert PareSettings(sharding="fsdp", distil=adam, route=adam).sharding == "fsdp"
