"""A halving aims at where two steps land; stopped and resumed equals run through; the last one is served."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.training.resuming import resumed_and_through
from workers.core import Schedule
from workers.models import load
from workers.models.few_steps import FewStepsSettings
from workers.models.folder import digest_of
from workers.training.clips import sample_clips
from workers.training.resumable import Deadline
from workers.training.video.architecture import LATENT_SHAPE, build_autoencoder, build_transformer
from workers.training.video.few_steps import FewStepsTrainee, Levels
from workers.training.video.few_steps_recipe import WanTinyFewRecipe, few_steps_halving
from workers.training.video.judge import READER_FILE, READER_PATH
from workers.training.video.pipeline_folder import TextToVideo, build_tokenizer, write_pipeline
from workers.training.video.pool import ClipPool, tokenise
from workers.training.video.recipe import SERVED_AS
from workers.training.video.settings import (
    ClipPoolSettings,
    EvaluationSettings,
    HalvingSettings,
    WanTinyFewSettings,
)
from workers.training.video.student_folder import load_teacher, served_schedule

BY_HAND = Levels(Schedule((1.0, 0.75, 0.5, 0.25, 0.0), (1000.0, 750.0, 500.0, 250.0)))
SETTINGS = HalvingSettings(num_steps=4, warmup_steps=1, decay_steps=2, batch=4, ranks=1)


def linear(latents: Tensor, timestep: Tensor) -> Tensor:
    return 2 * latents


def test_two_steps_of_a_linear_field_by_hand() -> None:
    """v = 2 x from x = 8: 8 - .25 x 16 = 4, then 4 - .25 x 8 = 2; one step of .5 from 8 to 2 has v = 12.

    The second pair of steps is as long, and the field does not know the time.
    """
    target = BY_HAND.target(linear, torch.full((2, 1, 1, 1, 1), 8.0), torch.tensor([0, 1]))
    assert target.flatten().tolist() == [12.0, 12.0]


def test_the_target_lands_where_two_uneven_steps_land() -> None:
    """v = x + t / 1000 on 1, .9, .5, .1, 0; rows stand at steps of their own."""
    sigmas = (1.0, 0.9, 0.5, 0.1, 0.0)
    levels = Levels(Schedule(sigmas, (1000.0, 900.0, 500.0, 100.0)))

    def field(latents: Tensor, timestep: Tensor) -> Tensor:
        return latents + timestep.view(-1, 1, 1, 1, 1) / 1000

    target = levels.target(field, torch.tensor([3.0, -1.0]).view(2, 1, 1, 1, 1), torch.tensor([1, 0]))
    for start, step, velocity in zip((3.0, -1.0), (1, 0), target.flatten().tolist(), strict=True):
        sigma, middle, end = sigmas[2 * step : 2 * step + 3]
        halfway = start + (middle - sigma) * (start + sigma)
        landed = halfway + (end - middle) * (halfway + middle)
        assert start + (end - sigma) * velocity == pytest.approx(landed)


def test_odd_schedules_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="3 steps"):
        Levels(Schedule((1.0, 0.6, 0.3, 0.0), (1000.0, 600.0, 300.0)))


def test_a_student_learns_a_field_whose_halving_is_known() -> None:
    """v = 2 x: two steps of .25 leave a quarter, one of .5 does with v = 1.5 x. Begun at 2, it ends there."""
    factor = torch.nn.Parameter(torch.tensor(2.0))
    optimiser = torch.optim.SGD([factor], lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        latents = torch.randn(16, 1, 1, 1, 1, generator=generator)
        step = torch.randint(BY_HAND.steps, (16,), generator=generator)
        loss = torch.nn.functional.mse_loss(factor * latents, BY_HAND.target(linear, latents, step))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert float(factor.detach()) == pytest.approx(1.5, abs=1e-3)


def narrow_model() -> TextToVideo:
    """Its head is not zero, so that there is something to learn."""
    torch.manual_seed(0)
    model = TextToVideo(build_tokenizer())
    model.transformer = build_transformer(num_layers=2, num_attention_heads=2)
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.05)
    return model


def trainee(*, ranks: int = 1, rank: int = 0) -> FewStepsTrainee:
    """One rank as it would be among so many; it only runs alone."""
    tokenizer = build_tokenizer()
    latents = np.random.default_rng(0).normal(size=(8, *LATENT_SHAPE)).astype(np.float16)
    ids = tokenise([clip.caption for clip in sample_clips(8, 0)], tokenizer)
    pool, empty = ClipPool(latents, [0.0] * 8, [1.0] * 8, ids), tokenise([""], tokenizer)
    settings = SETTINGS.model_copy(update={"ranks": ranks})
    models = narrow_model(), narrow_model()
    return FewStepsTrainee(settings, 3, *models, levels=BY_HAND, pool=pool, empty=empty, rank=rank)


def test_stopped_and_resumed_equals_run_through(tmp_path: Path) -> None:
    resumed, through = resumed_and_through(trainee, tmp_path)
    pairs = list(zip(tree_leaves(resumed), tree_leaves(through), strict=True))
    tensors = [pair for pair in pairs if isinstance(pair[0], torch.Tensor)]
    assert all(torch.equal(left, right) for left, right in tensors)
    assert len(tensors) > 10


def test_only_the_denoiser_learns() -> None:
    """A checkpoint's student shares the text encoder, and the teacher stays what it was."""
    learning, before = trainee(), narrow_model().state_dict()
    learning.step(0)
    changed = [name for name, value in learning.model.state_dict().items() if not value.equal(before[name])]
    assert changed
    assert all(name.startswith("transformer.") for name in changed)
    assert all(value.equal(before[name]) for name, value in learning.teacher.state_dict().items())


def test_the_global_batch_does_not_depend_on_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two ranks takes every second row of what one rank takes."""
    seen: list[list[int]] = []

    def note(self: FewStepsTrainee, rows: Tensor, *_others: Tensor) -> Tensor:
        seen.append(rows.tolist())
        raise StopIteration

    monkeypatch.setattr(FewStepsTrainee, "_loss", note)
    for ranks, rank in ((1, 0), (2, 0), (2, 1)):
        with pytest.raises(StopIteration):
            trainee(ranks=ranks, rank=rank).step(5)
    whole, first, second = seen
    assert (first, second) == (whole[::2], whole[1::2])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoints folder with a narrow teacher and the judges' weights."""
    out = tmp_path_factory.mktemp("checkpoints")
    write_pipeline(narrow_model(), build_autoencoder(), out / "wan-tiny", {"rheostat.json": SERVED_AS})
    (out / "judges").mkdir()
    shutil.copy(READER_PATH, out / "judges" / READER_FILE)
    return out


def test_a_halving_s_levels_are_the_server_s(out: Path) -> None:
    """Every second level is the shorter schedule's, bit for bit: 32, 16, 8, 4."""
    for steps in (16, 8, 4):
        longer, shorter = (served_schedule(out / "wan-tiny", count) for count in (2 * steps, steps))
        assert longer.sigmas[::2] == shorter.sigmas
        assert longer.timesteps[::2] == shorter.timesteps
    assert shorter.timesteps == (999.0, 900.0, 750.0, 500.0)  # 3 s / (1 + 2 s) of 1, .75, .5, .25


TINY = WanTinyFewSettings(
    teacher_steps=8,
    halvings=2,
    halving=SETTINGS.model_copy(update={"num_steps": 2}),
    pool=ClipPoolSettings(num_scenes=4, batch=2),
    evaluation=EvaluationSettings(num_clips=2, num_inference_steps=8, batch=2),
)


def test_every_stage_hands_on_to_the_next_and_the_last_is_served(out: Path, tmp_path: Path) -> None:
    teacher = digest_of(out / "wan-tiny")
    recipe = WanTinyFewRecipe(tmp_path, out, Deadline(), TINY)
    stages = recipe.stages()
    assert [*stages] == ["pool", "4-steps", "2-steps", "export", "evaluation"]
    assert all(stage() for stage in stages.values())

    model, told = load(out / "wan-tiny", dtype="float32"), FewStepsSettings.read(out / "wan-tiny")
    few = model.catalog.few_steps
    assert few is not None
    assert (few.num_inference_steps, few.solver) == (2, "euler")
    assert told is not None
    assert told.teacher == teacher == digest_of(recipe.folder, students=False) != model.catalog.digest
    report = json.loads((recipe.work / "evaluation.json").read_text())
    assert "count" in report["few-step"]
    assert "count" in report["steps"]


def test_a_halving_begins_with_what_the_one_before_made(out: Path, tmp_path: Path) -> None:
    recipe = WanTinyFewRecipe(tmp_path, out, Deadline(), TINY)
    assert recipe.pool()
    assert recipe.halve(4)
    build = partial(few_steps_halving, folder=recipe.folder, pool_path=recipe.pool_path)
    first, second = (build(TINY, recipe.work, 0, steps=steps) for steps in (4, 2))
    given = load_teacher(recipe.folder).state_dict()
    made = torch.load(recipe.work / "4-steps-rank0-000002.pt", weights_only=True)["average"]
    assert any(not value.equal(given[name]) for name, value in made.items())
    for each, expected in ((first, given), (second, made)):
        for network in (each.model, each.teacher):  # type: ignore[attr-defined]
            assert all(value.equal(expected[name]) for name, value in network.state_dict().items())
