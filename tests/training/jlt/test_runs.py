"""Arms differ in the readout alone; a run stopped goes on as one that ran through; a pair is served."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.training.resuming import resumed_and_through
from workers.core import PREDICTION_TYPES, Prediction
from workers.engine import Engine
from workers.models import load
from workers.training.flow_matching import FlowTrainee
from workers.training.jlt.latents import LatentPool, frame_of
from workers.training.jlt.objective import levels
from workers.training.jlt.recipe import JltRecipe
from workers.training.jlt.runs import samples_path, wanted
from workers.training.jlt.sampling import Sampler
from workers.training.jlt.settings import Arm, JltSettings, JltTrainingSettings
from workers.training.jlt.trainee import JltTrainee, build_network
from workers.training.recipes import DEFAULT_OUT, train
from workers.training.resumable import Deadline

FLOW, X0, EPS = PREDICTION_TYPES


def test_the_arms_are_three_pairs_and_two_controls() -> None:
    names = [arm.name for arm in JltSettings().arms]
    assert names == [
        *("x0-0", "flow-0", "x0-1", "flow-1", "x0-2", "flow-2"),
        *("x0-whitened-0", "flow-whitened-0", "x0-skip-0", "flow-skip-0"),
    ]


def test_the_authors_levels_for_velocities_are_one_run_more() -> None:
    """Centred levels have median 1/2; what they were drawn from is the same, row by row."""
    arms = JltSettings(centred=True).arms
    assert [arm.name for arm in arms[10:]] == ["flow-centred-0"]
    training = JltTrainingSettings()
    jlt, centred = (
        levels(999, torch.Generator().manual_seed(0), training, centred=each) for each in (False, True)
    )
    assert centred.median().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(jlt.argsort(), centred.argsort())


@pytest.mark.parametrize("changed", [{"guided_steps": 1}, {"ranks": 2}, {"compiled": True}])
def test_what_a_run_does_not_do_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one rank"):
        JltTrainingSettings.model_validate(changed)


def test_arms_of_a_seed_see_the_same_and_start_the_same(
    tiny: JltSettings, pool: LatentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, noise, levels, dropped captions, weights and first outputs; another seed sees something else."""
    seen: list[tuple[Tensor, ...]] = []

    def note(self: JltTrainee, *drawn: Any) -> Tensor:
        seen.append(drawn[:4])
        raise StopIteration

    arms = [Arm(target=target, seed=5, skip=skip) for target in (X0, FLOW) for skip in (False, True)]
    trainees = [JltTrainee(tiny, arm, pool) for arm in [*arms, Arm(target=X0, seed=6)]]
    first, *others, foreign = [trainee.model.transformer.state_dict() for trainee in trainees]
    assert all(value.equal(other[name]) for other in others for name, value in first.items())
    assert any(not value.equal(foreign[name]) for name, value in first.items())
    monkeypatch.setattr(JltTrainee, "loss", note)
    for trainee in trainees:
        with pytest.raises(StopIteration):
            FlowTrainee.step(trainee, 3)
    for drawn in zip(*seen[:4], strict=True):
        assert all(each.equal(drawn[0]) for each in drawn)
    assert not seen[4][1].equal(seen[0][1])


@pytest.mark.parametrize("target", [X0, FLOW, EPS])
def test_stopped_and_resumed_equals_run_through(
    tiny: JltSettings, pool: LatentPool, tmp_path: Path, target: Prediction
) -> None:
    arm = Arm(target=target, seed=5, latents="whitened", skip=True)
    resumed, through = resumed_and_through(partial(JltTrainee, tiny, arm, pool), tmp_path)
    pairs = zip(tree_leaves(resumed), tree_leaves(through), strict=True)
    tensors = [pair for pair in pairs if isinstance(pair[0], torch.Tensor)]
    assert all(torch.equal(left, right) for left, right in tensors)
    assert len(tensors) > 10


@pytest.mark.parametrize("target", [X0, FLOW])
def test_a_run_learns(tiny: JltSettings, pool: LatentPool, target: Prediction) -> None:
    """By a quarter at least in 24 steps of 8 rows; as the seeds have it, by two fifths."""
    training = tiny.training.model_copy(
        update={"num_steps": 24, "batch": 8, "decay_steps": 8, "warmup_steps": 2}
    )
    settings = tiny.model_copy(update={"training": training})
    trainee = JltTrainee(settings, Arm(target=target, seed=5), pool)
    losses = [trainee.step(index) for index in range(24)]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:3])


class Recorder(torch.nn.Module):
    """A network whose output is the mean of its text, wherever it is."""

    def forward(self, noisy: Tensor, sigma: Tensor, pooled: Tensor, sequence: Tensor) -> Tensor:
        return pooled.mean(1).view(-1, 1, 1).expand_as(noisy)


def test_guidance_stays_in_its_interval_and_falls_away_at_weight_1(
    tiny: JltSettings, pool: LatentPool
) -> None:
    """Text 1 against the empty caption's 0 at weight 3: flow 3 inside; at or below .1 of data it is 1."""
    texts, latents = (torch.ones(2, 128), torch.ones(2, 16, 128)), torch.zeros(2, 64, 32)
    network: Any = Recorder()
    sampler = Sampler(
        network, Arm(target=FLOW, seed=5), frame_of(pool.latents.float(), "plain"), pool, tiny.sampling
    )
    guided, plain = sampler.velocity(texts, 3.0), sampler.velocity(texts, 1.0)
    for sigma, expected in ((1.0, 1.0), (0.95, 1.0), (0.9, 1.0), (0.89, 3.0), (0.5, 3.0), (0.01, 3.0)):
        assert guided(latents, sigma).unique().item() == pytest.approx(expected)
        assert plain(latents, sigma).unique().item() == 1
    assert torch.equal(guided(latents, 0.95), plain(latents, 0.95))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoints folder with flux-tiny."""
    out = tmp_path_factory.mktemp("checkpoints")
    shutil.copytree(
        DEFAULT_OUT / "flux-tiny", out / "flux-tiny", ignore=shutil.ignore_patterns("calibration.json")
    )
    return out


def test_every_stage_hands_on_to_the_next_and_the_pair_is_served(
    tiny: JltSettings, out: Path, tmp_path: Path
) -> None:
    """An exported folder declares what its network predicts, and the engine runs it."""
    recipe = JltRecipe(tmp_path, out, Deadline(), tiny)
    assert [*recipe.stages()] == ["pool", "spectrum", "arms", "export"]
    assert train("jlt", out=out, cache=tmp_path, settings=tiny)
    report = json.loads((recipe.work / "spectrum.json").read_text())
    assert report["whitened"]["tokens"]["effective_rank"] > report["plain"]["tokens"]["effective_rank"]
    for arm in tiny.arms:
        for step, weight in wanted(tiny):
            assert np.load(samples_path(recipe.work, arm, step, weight)).shape == (3, 64, 64, 3)
    for target, clamp in ((X0, 0.05), (FLOW, 0.0)):
        model = load(out / f"jlt-{target}", dtype="float32")
        assert (model.network.layout.prediction, model.network.layout.clamp) == (target, clamp)
        request = {
            "model": model.name,
            "input": {"prompt": "a red apple", "seed": 1, "num_inference_steps": 2},
        }
        (result,) = Engine(model).run([request])
        assert torch.isfinite(result.samples[0].latents).all()


def test_a_deadline_stops_after_a_step_and_keeps_it(tiny: JltSettings, out: Path, tmp_path: Path) -> None:
    assert JltRecipe(tmp_path, out, Deadline(), tiny).pool()
    late = JltRecipe(tmp_path, out, Deadline(0.0), tiny)
    assert not late.arms()
    assert [path.name for path in (late.work / "x0-5").glob("run-*")] == ["run-rank0-000001.pt"]
    assert not samples_path(late.work, tiny.arms[0], 4, 1.0).exists()
    assert [path.name for path in late.work.glob("*-5")] == ["x0-5"]


def test_a_free_skip_starts_as_nothing(tiny: JltSettings, pool: LatentPool) -> None:
    plain, skip = (build_network(tiny, Arm(target=FLOW, seed=5, skip=skip)) for skip in (False, True))
    noisy, sigma = pool.latents[:2].float(), torch.tensor([0.2, 0.9])
    texts = pool.texts(torch.tensor([0, 1]), torch.tensor([False, False]))
    assert torch.equal(plain(noisy, sigma, *texts), skip(noisy, sigma, *texts))
