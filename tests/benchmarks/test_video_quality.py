"""The video benchmark from end to end on random tiny checkpoints, and its figures by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.quality_vs_compute.collect import Outcome
from benchmarks.quality_vs_compute.peers import Peer, counted
from benchmarks.video_quality.__main__ import Bench, _options, prepare, write
from benchmarks.video_quality.arms import Arm, Scale, Student, peer_arms, references, student_arms
from benchmarks.video_quality.execute import Studio
from benchmarks.video_quality.peers import Shot, full_flop, run
from benchmarks.video_quality.report import adaptivity, aims, rows
from benchmarks.video_quality.tune import tuned
from tests.protocol.counting import count_flop

STEPS = 3
SETTING = {"Fn_compute_blocks": 1, "residual_diff_threshold": 10.0, "max_warmup_steps": 1}
SHOT = Shot(32, 32, 5, 5.0)


def prepared(root: Path, folder: Path, *more: str) -> tuple[Any, Bench]:
    """Two pairs, a teacher of 3 blocks, a student of 2 under a static schedule."""
    counts = ("--pairs", "2", "--rest-pairs", "2", "--strata-pairs", "0", "--chunk", "1")
    places = ("--work", str(folder / "work"), "--out", str(folder / "out"))
    models = ("--teacher", str(root / "unipc"), "--student", f"pare={root / 'euler'}:static")
    options = _options([*counts, *places, *models, "--steps", str(STEPS), *more])
    bench = prepare(options)
    few = [arm for arm in bench.arms if arm.name in WANTED or arm.peer is not None]
    return options, Bench(bench.scale, few, bench.studio, bench.store, bench.refused)


WANTED = ("full", "real", "static@0.75", "pare@0.53", "pare@0.75")


def test_from_nothing_to_the_page_and_on(wan_root: Path, tmp_path: Path) -> None:
    """Every share is counted: the teacher's own is 1, of 3 evaluations of two lanes .75 buys 2."""
    options, bench = prepared(wan_root, tmp_path)
    assert bench.run(minutes=5) == []
    made = sorted((tmp_path / "work").glob("*.npz"))
    assert len(made) == 2 * len(WANTED)
    stamps = [path.stat().st_mtime_ns for path in made]
    _, again = prepared(wan_root, tmp_path)
    assert again.run(minutes=5) == []
    assert [path.stat().st_mtime_ns for path in made] == stamps
    report = write(options, again)
    by_name = {row["arm"]: row for row in report["rows"]}
    assert set(by_name) == set(WANTED)
    assert by_name["full"]["share"] == pytest.approx(1.0, abs=1e-9)
    assert by_name["static@0.75"]["share"] == pytest.approx(2 / 3, abs=0.03)
    assert by_name["static@0.75"]["spent"] == pytest.approx(by_name["static@0.75"]["share"], rel=0.01)
    assert by_name["pare@0.75"]["share"] < by_name["static@0.75"]["share"]
    assert by_name["real"]["direction"] == by_name["real"]["colour"] == 1.0
    assert by_name["static@0.75"]["latent"]["estimate"] > 0
    assert report["refused"]["static-drop@0.53"]
    page = (tmp_path / "out" / "pare.md").read_text()
    assert page.count("not measured") >= 4
    assert (tmp_path / "out" / "pare.png").stat().st_size > 1000
    assert json.loads((tmp_path / "out" / "pare.json").read_text())["rows"] == report["rows"]


def test_a_run_that_was_cut_off_reports_what_it_has(wan_root: Path, tmp_path: Path) -> None:
    """The unabridged run has one chunk of two; what has more is held against that one."""
    options, bench = prepared(wan_root, tmp_path)
    bench.run(minutes=5)
    (tmp_path / "work" / "full.1.npz").unlink()
    _, cut = prepared(wan_root, tmp_path)
    report = write(options, cut)
    assert {row["arm"]: row["pairs"] for row in report["rows"]} == dict.fromkeys(WANTED, 1) | {"real": 2}


def test_the_clock_takes_both_batches_and_keeps_them(wan_root: Path, tmp_path: Path) -> None:
    _, bench = prepared(wan_root, tmp_path)
    taken = bench.clock(repeats=1)
    assert [(row["arm"], row["batch"]) for row in taken] == [("pare@0.53", 1), ("pare@0.53", 8)]
    assert all(0 < row["denoise"] < 2 and 0 < row["total"] < 2 for row in taken)
    assert bench.clock(repeats=1) == taken == bench.clock_rows


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_plain_is_the_pipeline_and_its_flop_are_torchs(
    wan_pipeline: Callable[..., Any], guidance: float
) -> None:
    pipeline, shot = wan_pipeline(), SHOT._replace(guidance_scale=guidance)
    (made,) = run(pipeline, Peer("plain"), ["a red apple"], [7], shot=shot, steps=STEPS)

    def own() -> Any:
        return pipeline(
            "a red apple",
            **shot._asdict(),
            num_inference_steps=STEPS,
            max_sequence_length=pipeline.tokenizer.model_max_length,
            generator=torch.Generator().manual_seed(7),
            output_type="latent",
        ).frames

    # The copy's weights lie elsewhere in memory, and matrix products may round by where they lie.
    assert torch.allclose(made.latents, own(), rtol=0, atol=1e-5)
    assert made.share == 1.0
    lanes = 2 if guidance > 1 else 1
    with counted() as encoding:
        for _ in range(lanes):
            pipeline.encode_prompt("a", do_classifier_free_guidance=False, max_sequence_length=16)
    assert full_flop(pipeline, shot, STEPS) + encoding.flop == pytest.approx(count_flop(own), rel=1e-3)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_released_pruning_spares_blocks_and_leaves_nothing_behind(
    wan_pipeline: Callable[..., Any], guidance: float
) -> None:
    """Warm-up of one step, then every block but the first is pruned at an endless threshold."""
    pipeline, shot = wan_pipeline(), SHOT._replace(guidance_scale=guidance)
    captions, seeds = ["two blue dogs", "the sun"], [3, 4]
    plain = run(pipeline, Peer("plain"), captions, seeds, shot=shot, steps=STEPS)
    pruned = run(pipeline, Peer("dbprune", SETTING), captions, seeds, shot=shot, steps=STEPS)
    assert all(each.share < 0.9 for each in pruned)
    assert not torch.equal(pruned[0].latents, plain[0].latents)
    alone = run(pipeline, Peer("dbprune", SETTING), captions[1:], seeds[1:], shot=shot, steps=STEPS)
    assert torch.equal(alone[0].latents, pruned[1].latents)
    assert torch.equal(
        run(pipeline, Peer("plain"), captions, seeds, shot=shot, steps=STEPS)[1].latents, plain[1].latents
    )


def test_settings_are_tuned_and_run(wan_root: Path, tmp_path: Path) -> None:
    studio = Studio(wan_root / "unipc", STEPS)
    found = tuned(studio, 1, tmp_path / "peers.jsonl", [Peer("dbprune", SETTING)])
    (tmp_path / "peers.json").write_text(json.dumps(found))
    _, bench = prepared(wan_root, tmp_path, "--peers", str(tmp_path / "peers.json"))
    (arm,) = [arm for arm in bench.arms if arm.peer is not None]
    assert arm.pairs == 2
    made = bench.studio.make(arm, [])
    assert made == []
    assert found["front"][0]["share"] < 0.9


def test_a_students_arms() -> None:
    """Every stack that holds its own methods at every budget; others only at the matched one."""
    scale = Scale(pairs=100, rest_pairs=50, strata_pairs=50, budgets=(0.5, 0.1))
    students = [Student.parse("pare=a/b"), Student.parse("uniform=c:static+pare")]
    arms = {arm.name: arm for arm in student_arms(scale, students)}
    stacks = ("pare", "pare+softcap", "pare+few-step", "pare+softcap+few-step")
    expected = {f"{stack}@{budget:g}" for stack in stacks for budget in (0.53, 0.5, 0.1)}
    strata = {f"pare-{line}-{kind}" for line in ("adaptive", "fixed") for kind in ("all", "easy", "hard")}
    assert set(arms) == expected | strata | {"uniform@0.53"}
    assert (arms["pare@0.53"].pairs, arms["pare@0.5"].pairs, arms["uniform@0.53"].pairs) == (100, 50, 100)
    assert arms["uniform@0.53"].budget == {"fraction": 0.53, "methods": ["static", "pare"]}
    assert arms["pare-fixed-hard"].parameters == {"adaptivity": 0.0}
    assert [arm.name for arm in references(scale)] == ["full", "full-easy", "full-hard", "real"]


def test_a_student_is_read_from_its_text() -> None:
    assert Student.parse("pare=a/b") == Student("pare", Path("a/b"), ("pare",))
    for text in ("pare", "=a", "pare=", "pare=a:"):
        with pytest.raises(ValueError, match="is not name=folder"):
            Student.parse(text)


def test_the_setting_nearest_to_the_matched_share_decides() -> None:
    rows_ = [
        {"peer": "dbprune", "setting": {"residual_diff_threshold": share}, "share": share, "mean": 1 - share}
        for share in (0.3, 0.5, 0.8)
    ]
    arms = peer_arms(Scale(pairs=100, rest_pairs=50), rows_)
    assert [(arm.peer.setting["residual_diff_threshold"], arm.pairs) for arm in arms if arm.peer] == [
        (0.3, 50),
        (0.5, 100),
        (0.8, 50),
    ]


def outcome(name: str, line: str, captions: str = "all", **changes: Any) -> Outcome:
    """100 clips of one mover, all right, 8 pixels travelled."""
    ones, nothing = np.ones(100), np.full((100, 1), np.nan)
    columns = dict.fromkeys(("spent", "measured", "nfe", "seconds", "movers"), ones)
    columns |= dict.fromkeys(("colour", "object", "direction", "speed", "flicker", "shimmer"), ones)
    columns |= {"latent": ones, "asked": np.hstack([ones[:, None], nothing])}
    columns |= {"seen": columns["asked"], "travelled": 8 * columns["asked"]}
    return Outcome(Arm(name, line, "ours", 100, captions), columns | changes)  # type: ignore[arg-type]


def test_aims_of_a_student_by_hand() -> None:
    """5 of 100 clips lose their direction: beyond two points. Motion 7.6 of 8 is damped by 5 %."""
    wrong = np.ones(100)
    wrong[:5] = 0
    full = outcome("full", "full")
    slow = 0.95 * full.columns["travelled"]
    pare = outcome("pare@0.53", "pare", measured=np.full(100, 0.5), direction=wrong, travelled=slow)
    table = rows({"full": full, "pare@0.53": pare})
    clock = [{"arm": "pare@0.53", "line": "pare", "batch": 1, "denoise": 0.6, "total": 0.7}]
    met = {aim["aim"]: aim["met"] for aim in aims(table, clock, None, Scale())}
    assert met["3 teacher: direction"] is True
    assert met["4 PARE: share of FLOPs"] is True
    assert met["4 PARE: time of a step, batch 1"] is True
    assert met["4 PARE: time of a step, batch 8"] is None
    assert met["4 PARE: direction, lower bound"] is False
    assert met["4 PARE: displacement strays"] is False
    assert met["4 PARE: flicker against the teacher's"] is True
    assert met["6 together: share of FLOPs"] is None
    assert table[1]["motion"]["estimate"] == pytest.approx(0.95)


def test_adaptivity_by_hand() -> None:
    """Adaptive spends .4 on easy and .6 on hard captions, and gets 10 more of 100 hard ones right."""
    missed = np.ones(100)
    missed[:10] = 0
    found = {}
    for line, easy, hard in (("pare adaptive", 0.4, 0.6), ("pare fixed", 0.5, 0.5)):
        for kind, share in (("all", 0.5), ("easy", easy), ("hard", hard)):
            right = missed if (line, kind) == ("pare fixed", "hard") else np.ones(100)
            name = f"{line} {kind}"
            found[name] = outcome(name, line, kind, spent=np.full(100, share), direction=right)
    told = adaptivity(found)
    assert told is not None
    assert told["gain_hard"]["difference"] == pytest.approx(0.1)
    assert told["gain_hard"]["low"] > 0
    met = {aim["aim"]: aim["met"] for aim in aims([], [], told, Scale())}
    assert met["5 spent on hard minus on easy"] is True
    assert met["5 right on hard, adaptive minus fixed, lower bound"] is True
    assert adaptivity({}) is None
