"""A whole calibration of a PARE student: every method above its router, compared with its teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from protocol.calibration import Calibration
from protocol.depths import line, span_of
from protocol.receipts import Action
from tests.calibration.conftest import PROMPTS, with_defaults
from tests.plugins.pare import build_student
from workers.engine import Engine, Result
from workers.models import Model, load
from workers.training.block_drops import least_missed
from workers.training.calibration.calibrate import calibrate
from workers.training.calibration.depth_points import block_ranking, logit_quantiles
from workers.training.calibration.probe import make_probe
from workers.training.calibration.trial import Trial

pytestmark = pytest.mark.timeout(240)
STEPS = 4
DEFAULTS = {"width": 32, "height": 32, "num_frames": 5, "num_inference_steps": STEPS, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def student(load_student: Callable[..., Any]) -> Any:
    """Two lanes under UniPC, four steps."""
    return with_defaults(load_student(), num_inference_steps=STEPS, guidance_scale=2.0)


def test_the_unabridged_run_is_the_line(student: Any) -> None:
    """What the engine makes of a plan of the line's depths, to the bit; and what it costs."""
    probe = make_probe(student, PROMPTS[:2], first_seed=5)
    assert probe.routing is not None
    trial = Trial(student, PROMPTS[:2], 5, probe.final, {})
    plan = trial.plan("steps", STEPS)
    assert plan.methods == ("pare", "steps")
    assert plan.depths == probe.routing.depths
    assert len(set(plan.depths)) > 1
    outcome = trial.run(plan)
    assert outcome.distance.tolist() == [0.0, 0.0]
    assert outcome.spent.tolist() == pytest.approx([plan.granted] * 2)
    assert outcome.full.all()


def test_a_caches_places_are_what_it_pays(student: Any) -> None:
    """Of depths that fall the first two cost more than half."""
    trial = Trial(student, PROMPTS[:1], 5, torch.zeros(1, 1), {})
    plan = trial.plan("static", 2, nodes=(0, 1))
    whole = trial.plan("static", STEPS, nodes=tuple(range(STEPS)))
    assert plan.methods == ("pare", "static")
    assert plan.depths == whole.depths
    assert plan.granted_flop > whole.granted_flop / 2
    assert trial.share(2) == pytest.approx(whole.granted / 2, rel=1e-6)


def test_quantiles_are_of_the_free_blocks_along_the_runs(student: Any) -> None:
    """Levels rise, and at each the middle one is the median of what the router says there."""
    probe = make_probe(student, PROMPTS[:3], first_seed=5)
    table = logit_quantiles(probe)
    assert table["sigmas"] == sorted(probe.schedule.sigmas[:STEPS])
    first = probe.logits(probe.noise, 0, torch.arange(3))[:, 1:-1]
    row = table["quantiles"][-1]
    assert row[len(row) // 2] == pytest.approx(float(torch.quantile(first.flatten(), 0.5)), abs=1e-6)
    assert (row[0], row[-1]) == (pytest.approx(float(first.min())), pytest.approx(float(first.max())))


def test_blocks_are_left_out_least_missed_first() -> None:
    """Worths 9, 3, 5, 1, 9: the free ones go 1, 3, 5."""
    worth = (9, 3, 5, 1, 9)

    def error(run: Any) -> float:
        return float(sum(each for each, on in zip(worth, run, strict=True) if not on))

    assert list(least_missed(5, error)) == [3, 1, 2]


def test_the_ranking_ends_with_a_block_that_does_nothing(load_wan: Callable[..., Any]) -> None:
    """One block's outputs are turned off, so it is missed by nobody."""
    model = with_defaults(load_wan(), num_inference_steps=STEPS)
    silent = 1
    block = model.pipeline.transformer.blocks[silent]
    parts = [block.attn1.to_out[0], block.attn2.to_out[0], block.ffn.net[2]]
    kept = [{name: value.clone() for name, value in part.state_dict().items()} for part in parts]
    try:
        for part in parts:
            for parameter in part.parameters():
                parameter.data.zero_()
        ranking = block_ranking(make_probe(model, PROMPTS[:2], first_seed=5))
    finally:
        for part, state in zip(parts, kept, strict=True):
            part.load_state_dict(state)
    assert sorted(ranking) == list(range(model.network.layout.num_blocks))
    assert ranking[:2] == [0, model.network.layout.num_blocks - 1]
    assert ranking[-1] == silent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_student(tmp_path_factory.mktemp("students") / "student")
    settings = {"defaults": DEFAULTS, "frames": {"max_frames": 9, "fps": 8}}
    (folder / "rheostat.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def written(
    folder: Path, prompts: Path, wan_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Calibration:
    work = tmp_path_factory.mktemp("work")
    methods = ("pare", "softcap", "steps", "teacache")
    path = calibrate(str(folder), prompts_file=prompts, work=work, methods=methods)
    assert path is not None
    return Calibration.model_validate_json(path.read_bytes())


@pytest.fixture(scope="module")
def model(written: Calibration, folder: Path) -> Model:
    return load(folder, dtype="float32")


def run(model: Model, budget: Mapping[str, Any] | float) -> Result:
    asked = {"prompt": "a red apple", "seed": 1}
    [result] = Engine(model).run([{"model": "student", "input": asked, "compute_budget": budget}])
    return result


def test_points_are_of_the_router_and_of_stacks_above_it(written: Calibration, model: Model) -> None:
    assert {point.method for point in written.points} == {
        "pare",
        "pare+softcap",
        "pare+steps",
        "pare+teacache",
    }
    pare = [point for point in written.points if point.method == "pare"]
    assert [point.depths for point in pare] == [()] * len(pare)
    assert sorted(point.budget for point in pare) == [point.budget for point in pare]
    for point in written.points:
        assert point.spent <= point.budget + 0.1 + 1e-9
        if point.method != "pare":
            assert all(2 <= depth <= 6 for depth in point.depths)
    levels = make_probe(model, PROMPTS[:1], 5).schedule.sigmas[:STEPS]
    stack = next(point for point in written.points if point.method == "pare+softcap")
    assert stack.depths == line(levels, span_of(model.catalog.shapes))


def test_a_planned_budget_is_spent_under_both(written: Calibration, model: Model) -> None:
    """The planner takes the stack where only it and the router are allowed."""
    budget = {"fraction": 0.3, "methods": ["pare", "softcap"], "mode": "hard"}
    result = run(model, budget)
    [sample] = result.receipt.samples
    assert sample.plan.methods == ("pare", "softcap")
    assert sample.plan.calibration == written.id
    assert {Action.ROUTED, Action.FORECAST} >= {line.action for line in sample.steps}
    assert result.receipt.spent <= result.receipt.granted <= 0.3


def test_another_models_runs_may_be_the_reference(
    folder: Path, prompts: Path, wan_root: Path, tmp_path: Path
) -> None:
    """A stock model beside: even the whole line strays from it."""
    teacher = Path(shutil.copytree(wan_root / "unipc", tmp_path / "teacher"))
    shutil.copyfile(folder / "rheostat.json", teacher / "rheostat.json")
    student = Path(shutil.copytree(folder, tmp_path / "student"))
    path = calibrate(
        str(student),
        prompts_file=prompts,
        work=tmp_path / "work",
        methods=("pare",),
        reference=str(teacher),
    )
    assert path is not None
    found = Calibration.model_validate_json(path.read_bytes())
    assert found.settings["reference"] == load(teacher, dtype="float32").catalog.digest[:12]
    assert min(point.distance for point in found.points) > 0.01
