"""The report's arithmetic by hand, and the whole command at toy size."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jlt import __main__ as command
from benchmarks.jlt.report import at_best_guidance, curves, gap, verdicts
from workers.training.jlt.settings import (
    JltSettings,
    JltTrainingSettings,
    LatentPoolSettings,
    NetworkSettings,
    SamplingSettings,
)
from workers.training.recipes import DEFAULT_OUT, train


def row(target: str, kid: float, *, seed: int = 0, guidance: float = 2.0, step: int = 9) -> dict[str, Any]:
    shares = {"object": 0.5, "background": 0.75}
    return {"target": target, "kid": kid, "seed": seed, "guidance": guidance, "step": step, **shares}


def test_a_gap_by_hand() -> None:
    """Means 2 and 5: ratio 2.5, gain 1 - 2 / 5; pairs 4 / 1 and 6 / 3."""
    rows = [row("x0", 1.0), row("x0", 3.0, seed=1), row("flow", 6.0, seed=1), row("flow", 4.0)]
    assert gap(rows) == {"x0": 2.0, "flow": 5.0, "ratio": 2.5, "gain": 0.6, "by_seed": [4.0, 2.0]}


def test_each_target_is_taken_at_its_own_best_guidance() -> None:
    """Over two seeds: x0 at 1 has mean 1.5, at 2 mean 2; the flow 4 at 1 and 3.5 at 2."""
    numbers = {("x0", 1.0): (1, 2), ("x0", 2.0): (0.5, 3.5), ("flow", 1.0): (4, 4), ("flow", 2.0): (3, 4)}
    rows = [
        row(target, kid, seed=seed, guidance=guidance)
        for (target, guidance), kids in numbers.items()
        for seed, kid in enumerate(kids)
    ]
    kept = [(each["target"], each["guidance"]) for each in at_best_guidance(rows)]
    assert kept == [("x0", 1.0)] * 2 + [("flow", 2.0)] * 2


def test_a_curve_has_the_spread_over_seeds() -> None:
    rows = [row("x0", 1.0), row("x0", 3.0, seed=1), row("flow", 2.0), row("flow", 2.0, seed=1)]
    first, second = curves([*rows, row("x0", 9.0, guidance=1.0)], 2.0)
    assert (first["target"], first["step"], first["seeds"]) == ("x0", 9, 2)
    assert first["kid"] == {"mean": 2.0, "deviation": 1.414214, "least": 1.0, "most": 3.0}
    assert second["kid"]["deviation"] == 0


@pytest.mark.parametrize(
    ("changed", "lost"), [({}, 0), ({"paired": 0.2}, 1), ({"whitened": 2.1, "skip": 2.0}, 2)]
)
def test_verdicts(changed: dict[str, float], lost: int) -> None:
    gains, ratios = {"paired": 0.3, "best_guidance": 0.25}, {"first_seed": 2.0, "whitened": 1.2, "skip": 1.1}
    gaps = {
        **{name: {"gain": changed.get(name, gain), "by_seed": [1.5]} for name, gain in gains.items()},
        **{name: {"ratio": changed.get(name, ratio)} for name, ratio in ratios.items()},
    }
    found = verdicts(gaps)
    assert (list(found["verdicts"].values()).count(False), found["passed"]) == (lost, not lost)


TOY = JltSettings(
    seeds=(0,),
    processes=1,
    network=NetworkSettings(num_layers=1, num_single_layers=1, num_attention_heads=2),
    pool=LatentPoolSettings(num_scenes=4),
    training=JltTrainingSettings(num_steps=2, warmup_steps=1, decay_steps=1, batch=2, milestones=(2,)),
    sampling=SamplingSettings(num_images=2, num_steps=1, sweep=(1.0,)),
)


@pytest.mark.timeout(180)
def test_the_command_reports_what_the_recipe_drew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(DEFAULT_OUT / "flux-tiny", tmp_path / "out" / "flux-tiny")
    assert train("jlt", out=tmp_path / "out", cache=tmp_path, settings=TOY, until="arms")
    places = ("--cache", tmp_path, "--checkpoints", tmp_path / "out", "--out", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["jlt", "--real", "2", *map(str, places)])
    command.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == json.loads((tmp_path / "results" / "jlt.json").read_text())
    assert len(last["rows"]) == 6 * 2
    assert len(last["curves"]) == 2
    assert len(last["verdicts"]) == 5
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"jlt.json", "jlt.md", "jlt.png"}
