"""The student's one point on the dial, measured as every other method is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from protocol.jobs import GenerationRequest
from protocol.methods import FEW_STEP
from protocol.plan import make_plan
from protocol.resolve import resolve
from tests.engine.clips import clip
from tests.engine.students import STEPS, write_few
from workers.engine import Engine
from workers.models import Model, load
from workers.training.calibration.trial import Trial

PROMPTS = ("a red apple", "the sun")


@pytest.fixture(scope="module")
def folder(wan_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps of one lane where a request is silent."""
    folder = Path(shutil.copytree(wan_root / "unipc", tmp_path_factory.mktemp("few") / "unipc"))
    settings = json.loads((folder / "rheostat.json").read_text())
    settings["defaults"]["guidance_scale"] = 1.0
    (folder / "rheostat.json").write_text(json.dumps(settings))
    return write_few(folder)


def make_trial(model: Model) -> Trial:
    """Against the model's own unabridged runs."""
    bodies = [
        clip(prompt=prompt, seed=3 + place, num_inference_steps=4) for place, prompt in enumerate(PROMPTS)
    ]
    finals = [result.samples[0].latents for result in Engine(model).run(bodies)]
    return Trial(model, PROMPTS, 3, torch.cat(finals), {})


def test_its_point_is_what_its_run_costs_and_how_far_it_ends(folder: Path) -> None:
    model = load(folder, dtype="float32")
    trial = make_trial(model)
    plan = trial.student_plan()
    assert plan is not None
    point = trial.point(plan)
    assert (point.method, point.steps, point.budget, point.spent) == (FEW_STEP, 4, STEPS / 4, STEPS / 4)
    assert 0 < point.distance <= point.tail
    entry = model.catalog.model_copy(update={"points": (point,), "calibration": "c1"})
    request = GenerationRequest.model_validate(
        {"model": "unipc", "input": {"prompt": "a"}, "compute_budget": 0.8}
    )
    made = make_plan(resolve(request, entry), entry)
    assert (made.methods, made.expected_distance) == ((FEW_STEP,), point.distance)


def test_a_model_without_a_student_has_none(wan_root: Path) -> None:
    trial = Trial(load(wan_root / "unipc", dtype="float32"), PROMPTS, 3, torch.zeros(2, 1), {})
    assert trial.student_plan() is None
