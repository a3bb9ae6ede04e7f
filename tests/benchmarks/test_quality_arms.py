"""Which arms are run, and the columns that come of an outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.quality_vs_compute.arms import Arm, Scale, own_arms, peer_arms, references
from benchmarks.quality_vs_compute.execute import Made
from benchmarks.quality_vs_compute.pairs import held_out, renderings
from benchmarks.quality_vs_compute.references import References, confidence, measured
from protocol.calibration import CalibrationPoint
from protocol.methods import CACHES, FEWER_STEPS
from tests.protocol.entries import flux_entry

METHODS = (*CACHES, *FEWER_STEPS)
SCALE = Scale(pairs=100, rest_pairs=50, judge_pairs=200, ode_pairs=50, budgets=(0.35, 0.2))


def row(peer: str, share: float, mean: float) -> dict[str, Any]:
    return {"peer": peer, "setting": {"threshold": share}, "share": share, "mean": mean}


def test_every_method_at_every_budget() -> None:
    """Without calibration the planner's choice is fewer steps, so `steps` by name would be it again."""
    arms = own_arms(SCALE, flux_entry(methods=METHODS))
    expected = {"ours", "softcap-fixed", *METHODS} - {"steps"}
    assert {arm.name for arm in arms} == {f"{name}@{budget:g}" for name in expected for budget in (0.35, 0.2)}
    pairs = {arm.name: (arm.pairs, arm.features) for arm in arms}
    assert pairs["ours@0.35"] == (200, 100)
    assert pairs["ours@0.2"] == pairs["static@0.35"] == pairs["softcap-fixed@0.35"] == (100, 100)
    assert pairs["fora@0.35"] == (50, 50)


def test_the_static_schedule_is_run_even_where_the_planner_chose_it() -> None:
    point = CalibrationPoint(
        method="static", steps=28, budget=0.2, spent=0.2, distance=0.01, tail=0.02, nodes=(0, 9, 18)
    )
    entry = flux_entry(methods=("static", "fora"), points=(point,), calibration="c")
    names = [arm.name for arm in own_arms(SCALE, entry, ("static", "fora"))]
    assert "static@0.2" in names


def test_peers_keep_the_joint_front_and_what_is_near_a_budget() -> None:
    """first_block: .15 and .8 at most; one place, for .36. TaylorSeer's are the joint front and stay."""
    lite = [row("taylorseer_lite", share, 0.05 - share / 20) for share in (0.2, 0.3, 0.5)]
    block = [row("first_block", share, 1 - share) for share in (0.1, 0.36, 0.6, 0.9)]
    beaten = [row("dbcache", 0.4, 0.5), row("dbcache", 0.45, 0.6)]
    arms = peer_arms(SCALE, [*block, *lite, *beaten], per_peer=1)
    found = [(arm.line, arm.group, arm.peer.setting["threshold"]) for arm in arms if arm.peer]
    assert found == [
        ("diffusers first_block", "diffusers", 0.36),
        *(("diffusers taylorseer_lite", "diffusers", share) for share in (0.2, 0.3, 0.5)),
        ("cache-dit dbcache", "cache-dit", 0.4),
    ]
    assert len({arm.name for arm in arms}) == len(arms)


def test_ranks() -> None:
    """What the verdicts rest on first, references before all."""
    peers = peer_arms(SCALE, [row("taylorseer_lite", 0.2, 0.05), row("first_block", 0.3, 0.04)])
    arms = [*peers, *own_arms(SCALE, flux_entry(methods=METHODS), ("fora", "static")), *references(SCALE)]
    ranked = [arm.line for arm in sorted(arms, key=lambda arm: arm.rank)]
    assert list(dict.fromkeys(ranked)) == [
        *("full", "ode", "real", "ours", "static", "softcap-fixed"),
        *("diffusers taylorseer_lite", "plain", "diffusers first_block", "fora"),
    ]


def made(scale: float) -> list[Made]:
    """Real scenes, with latents of `scale` everywhere."""
    images = renderings(held_out(2))
    return [Made(image, torch.full((1, 4, 8), scale), 0.5, 14, 1.0, (14, 0, 0, 14)) for image in images]


def test_columns() -> None:
    """Latents 2 against 1: distance 1; the ODE stands at 4, so .5 away, and the unabridged run .75."""
    pairs = held_out(2)
    full = measured(Arm("full", "full", "reference", 2, 0), pairs, made(1.0), None)
    ode = measured(Arm("ode", "ode", "reference", 2, 0), pairs, made(4.0), References(full, None))
    ours = measured(Arm("ours@0.5", "ours", "ours", 2, 0), pairs, made(2.0), References(full, ode))
    assert ours["latent"].tolist() == [1, 1]
    assert ours["ode"].tolist() == [0.5, 0.5]
    assert ode["ode"].tolist() == [0.75, 0.75]
    assert np.isinf(ours["psnr"]).all()
    assert ours["ssim"].tolist() == pytest.approx([1, 1])
    assert ours["everything"].all()
    assert ours["spent"].tolist() == [0.5, 0.5]
    assert full["images"].shape == (2, 64, 64, 3)
    assert "features" not in ours
    assert "latent" not in full


def test_the_judge_is_sure_of_real_scenes_and_not_of_others() -> None:
    pairs = held_out(6)
    wanted = [pair.attributes for pair in pairs]
    images = renderings(pairs)
    assert confidence(images, wanted).mean() > 0.8
    assert confidence(images, [*wanted[1:], wanted[0]]).mean() < 0.2
