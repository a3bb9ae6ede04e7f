"""A step with the blocks' weights sharded over a group of one is the plain step; parts join to the whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from tests.training.pare.test_trainee import PARE, STAGE
from workers.core.pare_router import DepthRouter
from workers.models.wan import Wan
from workers.training.pare.forward import Routes
from workers.training.pare.routing import Chooser
from workers.training.pare.settings import LossSettings
from workers.training.pare.sharding import in_step, joined, shard_blocks
from workers.training.pare.slicing import slice_student
from workers.training.pare.sources import ClipSource
from workers.training.pare.stages import student_network
from workers.training.pare.trainee import Lesson, Student, StudentTrainee
from workers.training.resumable import Checkpoints, Deadline, run

ADAM = STAGE.model_copy(update={"muon_rate": 0.0})


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def trainee(teacher: Wan, source: ClipSource, *, sharded: bool) -> StudentTrainee:
    transformer = slice_student(teacher.pipeline.transformer, PARE, None)
    network = student_network(transformer, teacher, PARE)
    if sharded:
        shard_blocks(transformer, torch.float32)
    lesson = Lesson(
        teacher=teacher.network,
        student=network,
        source=source,
        shift=3.0,
        losses=LossSettings(watched_blocks=2),
        sharded=sharded,
    )
    torch.manual_seed(1)
    router = DepthRouter(torch.tensor([0.0, 0.3, 0.1, 0.0]), 8)
    chooser = Chooser("content", 4, 2, 3.4, router)
    return StudentTrainee("route", ADAM, 3, Student(transformer, router), lesson=lesson, chooser=chooser)


def distance(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Mean over all numbers. A few of Adam's first steps turn round with the last bit of a gradient."""
    assert ours.keys() == theirs.keys()
    gaps = [(ours[name] - theirs[name]).abs().sum() for name in ours]
    return float(sum(gaps)) / sum(value.numel() for value in ours.values())


@pytest.mark.usefixtures("group")
def test_sharded_steps_are_plain_steps(teacher: Wan, source: ClipSource, tmp_path: Path) -> None:
    """Sharded, rows run blocks they do not take, as another rank might; the gate leaves them as they were."""
    plain, sharded = (trainee(teacher, source, sharded=each) for each in (False, True))
    before = {name: value.clone() for name, value in plain.weights().items()}
    for index in range(2):
        assert plain.step(index) == pytest.approx(sharded.step(index), rel=1e-4)
    moved = distance(before, plain.weights())
    assert moved > 1e-5
    assert distance(plain.weights(), sharded.weights()) < 0.02 * moved
    assert distance(plain.average, sharded.average) < 0.02 * moved

    Checkpoints(tmp_path, "route").save(2, sharded.state_dict())
    resumed = trainee(teacher, source, sharded=True)
    assert run(resumed, Checkpoints(tmp_path, "route"), Deadline())
    for index in range(2, 4):
        sharded.step(index)
    ours, theirs = resumed.weights(), sharded.weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.usefixtures("group")
def test_blocks_that_anybody_needs_are_run_by_all() -> None:
    run_by = torch.tensor([[True, False, False], [True, True, False]])
    routes = in_step(Routes(run_by, None))
    assert routes.run.tolist() == [[True, True, False]] * 2
    assert routes.gate is not None
    assert routes.gate.tolist() == [[1, 0, 0], [1, 1, 0]]


def test_parts_join_in_the_order_of_the_ranks() -> None:
    """A block's weight lies in two parts, an uneven one; what stands around it is whole on both."""
    whole = {"block": torch.arange(3.0)[:, None], "head": torch.ones(2)}
    parts = [
        {"block": whole["block"][:2], "head": torch.ones(2)},
        {"block": whole["block"][2:], "head": torch.ones(2)},
    ]
    got = joined(parts, whole)
    assert all(torch.equal(got[name], whole[name]) for name in whole)
