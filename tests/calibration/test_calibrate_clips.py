"""A whole calibration of a model of clips: guided in two lanes, under UniPC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from protocol.calibration import Calibration
from protocol.receipts import Action
from tests.plugins.wan import WanRecipe, build_wan
from workers.engine import Engine, Result
from workers.models import Model, load
from workers.training.calibration.calibrate import calibrate

pytestmark = pytest.mark.timeout(180)
METHODS = ("softcap", "steps", "unipc")
STEPS = 4
DEFAULTS = {"width": 32, "height": 32, "num_frames": 5, "num_inference_steps": STEPS, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = WanRecipe(num_layers=2, settings={"defaults": DEFAULTS, "frames": {"max_frames": 9, "fps": 8}})
    return build_wan(tmp_path_factory.mktemp("calibrated") / "clips", recipe)


@pytest.fixture(scope="module")
def written(folder: Path, prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    work = tmp_path_factory.mktemp("work")
    path = calibrate(str(folder), prompts_file=prompts, work=work, methods=METHODS)
    assert path == folder / "calibration.json"
    return Calibration.model_validate_json(path.read_bytes())


@pytest.fixture(scope="module")
def model(written: Calibration, folder: Path) -> Model:
    return load(folder, dtype="float32")


def run(model: Model, budget: Mapping[str, Any] | float, **given: Any) -> Result:
    asked = {"prompt": "a red apple", "seed": 1, **given}
    [result] = Engine(model).run([{"model": "clips", "input": asked, "compute_budget": budget}])
    return result


def test_it_says_what_it_was_made_for(written: Calibration) -> None:
    assert {point.method for point in written.points} == set(METHODS)
    assert written.num_inference_steps == STEPS
    assert (written.settings["num_frames"], written.settings["guidance_scale"]) == (5, 2.0)
    assert all(point.spent <= point.budget + 0.1 + 1e-9 for point in written.points)


def test_the_models_own_solver_is_measured_once_under_both_its_names(written: Calibration) -> None:
    def numbers(method: str) -> list[dict[str, Any]]:
        return [point.model_dump(exclude={"method"}) for point in written.points if point.method == method]

    assert numbers("steps") == numbers("unipc") != []


def test_the_loaded_model_serves_it(written: Calibration, model: Model) -> None:
    assert model.calibration == written
    plan = run(model, 0.5).receipt.samples[0].plan
    least = min(point.distance for point in written.points if point.budget <= 0.5 and point.mode != "hard")
    assert plan.calibration == written.id
    assert plan.expected_distance == pytest.approx(least)


@pytest.mark.parametrize(("budget", "full"), [(0.5, 2), (0.25, 1)])
def test_softcap_serves_a_budget(written: Calibration, model: Model, budget: float, full: int) -> None:
    """By hand: of four steps a half is two full evaluations and a quarter one, each of two lanes."""
    result = run(model, {"fraction": budget, "mode": "hard", "methods": ["softcap"]})
    [sample] = result.receipt.samples
    assert sample.plan.methods == ("softcap",)
    assert (sample.plan.calibration, sample.plan.solver) == (written.id, "unipc")
    assert [line.action for line in sample.steps].count(Action.FULL) == full
    assert (result.receipt.granted, result.receipt.spent, result.receipt.nfe) == (budget, budget, 2 * full)


def test_too_few_prompts_are_refused(folder: Path, tmp_path: Path) -> None:
    """The model's own captions are of clips, and there are as many as are asked for."""
    with pytest.raises(ValueError, match=r"at least 48 prompts, not 2"):
        calibrate(str(folder), num_prompts=2, work=tmp_path / "work")
