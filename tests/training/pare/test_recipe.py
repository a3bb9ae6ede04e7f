"""The whole recipe at next to no size: stopped at every turn, a student that loads, and its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.pare.conftest import make_pool
from workers.models import load
from workers.models.pare import Pare
from workers.training.clips import sample_clips
from workers.training.pare.recipe import PareRecipe
from workers.training.pare.settings import (
    CONTROLS,
    CalibrationSettings,
    PareSettings,
    PruningSettings,
    RouterKind,
    StageSettings,
)
from workers.training.recipes import train
from workers.training.resumable import Deadline
from workers.training.video.architecture import LATENT_SHAPE
from workers.training.video.pipeline_folder import TextToVideo, build_tokenizer
from workers.training.video.settings import EvaluationSettings

STAGE = StageSettings(num_steps=2, warmup_steps=1, decay_steps=1, batch=2, ranks=1, muon_rate=0.0)
NEXT_TO_NOTHING = PareSettings(
    calibration=CalibrationSettings(samples=2, bins=1, batch=2),
    distil=STAGE,
    route=STAGE,
    evaluation=EvaluationSettings(num_clips=2, num_inference_steps=2, batch=2),
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with the pool the teacher `tiny` learned from."""
    folder = tmp_path / "cache" / "tiny"
    folder.mkdir(parents=True)
    np.save(folder / "pool.npy", make_pool().latents)
    captions = [clip.caption for clip in sample_clips(len(make_pool().latents), 0)]
    (folder / "pool.txt").write_text("\n".join(captions))
    return tmp_path / "cache"


def small(**changes: Any) -> PareSettings:
    return NEXT_TO_NOTHING.model_copy(update=changes)


def test_stopped_at_every_turn_it_ends_with_a_measured_student(
    cache: Path, tmp_path: Path, teacher_folder: Path
) -> None:
    """Without any time left a call ends after one step; the last one has no limit."""
    out = tmp_path / "out"
    state = tmp_path / "transformer-rank0-000200.pt"
    torch.save({"average": TextToVideo(build_tokenizer()).state_dict()}, state)
    settings = small(teacher_states=(state,))
    for minutes in (0.0, 0.0, None):
        done = train(
            "pare", cache=cache, out=out, settings=settings, max_minutes=minutes, teacher=teacher_folder
        )
        assert done == (minutes is None)
    (work,) = (cache / "tiny-pare").iterdir()
    report = json.loads((work / "evaluation.json").read_text())
    assert 2 <= report["blocks"] <= 4
    assert 0 < report["share"] < 1
    assert "direction" in report["generated"] or "background" in report["generated"]
    roles = json.loads((work / "roles.json").read_text())
    assert sum(roles["teacher"]["total"].values()) == 4 * 4
    assert len(roles["transformer-rank0-000200"]["blocks"]) == 10

    student = load(out / "tiny-pare", dtype="float32")
    assert student.catalog.shapes.pare.model_dump() == {
        "self_heads": 3,
        "cross_heads": 3,
        "ffn_dim": 320,
        "least_blocks": 2.0,
        "most_blocks": 3.4,
    }
    assert student.depth_router is not None
    assert student.catalog.defaults.num_inference_steps == 30
    record = json.loads((out / "tiny-pare" / "training.json").read_text())
    assert (record["stage"], record["step"]) == ("route", 2)
    assert not (out / "tiny-pare" / ".new").exists()


@pytest.mark.parametrize("kind", ["static", "random", "none"])
def test_controls_end_with_a_folder_that_loads(
    cache: Path, tmp_path: Path, teacher_folder: Path, kind: RouterKind
) -> None:
    """Those without a first stage (as `raw`) begin the second from the weights as they were pruned."""
    raw = STAGE.model_copy(update={"num_steps": 0})
    settings = small(router=kind, control=kind, **{} if kind == "none" else {"distil": raw})
    assert train("pare", cache=cache, out=tmp_path, settings=settings, until="export", teacher=teacher_folder)
    (work,) = (cache / f"tiny-pare-{kind}").iterdir()
    assert bool(list(work.glob("distil-*"))) == (kind == "none")
    student = load(tmp_path / f"tiny-pare-{kind}", dtype="float32")
    pare = Pare.read(tmp_path / f"tiny-pare-{kind}")
    assert pare is not None
    assert (student.depth_router is None) == (kind in ("random", "none"))
    if kind == "none":
        assert (pare.least_blocks, pare.most_blocks) == (4, 4)
    if kind == "static":
        assert pare.least_blocks == pare.most_blocks == 3
        logits = student.depth_router(torch.rand(2) * 1000, torch.randn(2, *LATENT_SHAPE))
        assert logits.abs().min() == 8
        assert (logits > 0).sum(1).tolist() == [3, 3]
    assert len(list((cache / "tiny-pare").glob("*/calibration.safetensors"))) == 1  # shared by all


@pytest.mark.slow
def test_two_ranks_hold_the_same_weights(cache: Path, tmp_path: Path, teacher_folder: Path) -> None:
    """Two processes; blocks that one rank's rows skip are exchanged all the same."""
    stage = STAGE.model_copy(update={"ranks": 2, "muon_rate": 1e-3})
    settings = small(distil=STAGE.model_copy(update={"num_steps": 0}), route=stage, control="raw")
    assert train("pare", cache=cache, out=tmp_path, settings=settings, until="export", teacher=teacher_folder)
    (work,) = (cache / "tiny-pare-raw").iterdir()
    assert not list(work.glob("distil-*"))
    ranks = [torch.load(work / f"route-rank{rank}-000002.pt", weights_only=True) for rank in (0, 1)]
    for name, value in ranks[0]["model"].items():
        assert torch.equal(value, ranks[1]["model"][name])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_student_sharded_over_two_ranks_is_joined_in_its_folder(
    cache: Path, tmp_path: Path, teacher_folder: Path
) -> None:
    stage = STAGE.model_copy(update={"ranks": 2})
    plain, sharded = (
        small(distil=stage, route=stage, sharding=sharding, control=sharding) for sharding in ("none", "fsdp")
    )
    for settings in (plain, sharded):
        assert train(
            "pare", cache=cache, out=tmp_path, settings=settings, until="export", teacher=teacher_folder
        )
    ours, theirs = (
        load(tmp_path / f"tiny-pare-{name}", dtype="float32").pipeline.transformer.state_dict()
        for name in ("fsdp", "none")
    )
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-2, atol=3e-3) for name in theirs)


def test_nothing_pruned_and_all_blocks_on_is_the_teacher(
    cache: Path, tmp_path: Path, teacher_folder: Path
) -> None:
    """p = 0 and no steps: the weights of the folder are the teacher's."""
    settings = small(
        pruning=PruningSettings(kept_share=1.0),
        router="none",
        control="same",
        distil=STAGE.model_copy(update={"num_steps": 1, "adam_rate": 0.0, "ema_decay": 0.0}),
    )
    assert train("pare", cache=cache, out=tmp_path, settings=settings, until="export", teacher=teacher_folder)
    ours, theirs = (
        load(folder, dtype="float32").pipeline.transformer.state_dict()
        for folder in (tmp_path / "tiny-pare-same", teacher_folder)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_pruned_teacher_or_none_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a teacher"):
        train("pare", cache=cache, out=tmp_path)
    with pytest.raises(LookupError, match="no model 'wan-huge'"):
        train("pare", cache=cache, out=tmp_path, teacher="wan-huge")
    with pytest.raises(ValueError, match="wan-tiny takes no teacher"):
        train("wan-tiny", cache=cache, out=tmp_path, teacher="wan-tiny")


def test_controls_differ_from_the_short_student_in_one_thing_each(tmp_path: Path) -> None:
    short = CONTROLS["short"].model_dump()
    for name, settings in CONTROLS.items():
        other = settings.model_dump()
        changed = {key for key in short if short[key] != other[key]} - {"control"}
        assert len(changed) == (0 if name == "short" else 2 if name == "raw" else 1), name
        assert settings.control == name
        recipe = PareRecipe(tmp_path, tmp_path, Deadline(), settings, teacher=tmp_path / "wan-tiny")
        recipe.__dict__["folder"] = tmp_path / "wan-tiny"
        assert recipe.name == f"wan-tiny-pare-{name}"
    assert CONTROLS["raw"].distil.num_steps + CONTROLS["raw"].route.num_steps == 2000
