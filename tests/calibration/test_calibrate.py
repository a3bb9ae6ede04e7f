"""From a checkpoint and prompts to a calibration that the planner uses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from protocol.calibration import Calibration
from workers.engine import Engine
from workers.models import load
from workers.training.calibration.calibrate import calibrate

pytestmark = pytest.mark.timeout(180)  # a whole calibration, the smallest there is, takes half a minute
METHODS = ("softcap", "static", "teacache", "steps")
STEPS = 4


@pytest.fixture(scope="module")
def folder(flux_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of our own: the calibration is written beside the weights."""
    return Path(shutil.copytree(flux_root / "plain", tmp_path_factory.mktemp("calibrated") / "plain"))


@pytest.fixture(scope="module")
def written(folder: Path, prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """Stopped at once, then taken up again: the second call goes on and ends."""
    work = tmp_path_factory.mktemp("work")
    stopped = calibrate(str(folder), prompts_file=prompts, work=work, methods=METHODS, max_minutes=0)
    assert stopped is None
    assert not (folder / "calibration.json").exists()
    path = calibrate(str(folder), prompts_file=prompts, work=work, methods=METHODS)
    assert path == folder / "calibration.json"
    return Calibration.model_validate_json(path.read_bytes())


def test_every_method_asked_for_has_points(written: Calibration) -> None:
    assert {point.method for point in written.points} == set(METHODS)
    assert written.num_inference_steps == STEPS
    assert all(point.steps == STEPS for point in written.points)
    assert set(written.tables) == {"softcap", "softcap-paper", "teacache", "magcache"}


def test_nothing_spends_more_than_soft_mode_allows(written: Calibration) -> None:
    assert all(point.spent <= point.budget + 0.1 + 1e-9 for point in written.points)
    assert all(point.spent <= point.budget + 1e-9 for point in written.points if point.mode == "hard")


def test_more_anchors_stray_less(written: Calibration) -> None:
    hard = [point for point in written.points if point.method == "softcap" and point.mode == "hard"]
    assert [point.budget for point in hard] == [0.25, 0.5, 0.75]
    assert hard[0].distance > hard[-1].distance


def test_the_planner_takes_it(written: Calibration, folder: Path) -> None:
    model = load(folder, dtype="float32")
    assert model.calibration == written
    (result,) = Engine(model).run(
        [{"model": "plain", "input": {"prompt": "a red apple", "seed": 1}, "compute_budget": 0.5}]
    )
    plan = result.receipt.samples[0].plan
    assert plan.calibration == written.id
    assert plan.methods[0] in METHODS
    least = min(point.distance for point in written.points if point.budget <= 0.5 and point.mode != "hard")
    assert plan.expected_distance == pytest.approx(least)


def test_too_few_prompts_are_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "few.txt"
    file.write_text("a red apple\n")
    with pytest.raises(ValueError, match=r"at least 48 prompts, not 1"):
        calibrate(str(folder), prompts_file=file, work=tmp_path / "work")
