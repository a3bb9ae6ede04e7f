"""A probe of clips: guided in two lanes, moved by UniPC, and the same run as the engine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.calibration.conftest import PROMPTS, with_defaults
from workers.engine import Engine
from workers.training.calibration.difficulty import features_of
from workers.training.calibration.multistep import Path, fit, follow, linear_path, start
from workers.training.calibration.probe import Probe, make_probe, standard_request
from workers.training.calibration.tables import drift_scales, magcache_ratios, teacache_polynomial
from workers.training.calibration.trial import Trial

NODES = (0, 2, 3)


def ends(probe: Probe, path: Path) -> torch.Tensor:
    rows = torch.arange(len(probe))
    with torch.inference_mode():
        return follow(probe, path, rows, start(probe, rows))[0]


def test_an_unabridged_run_is_the_engines_to_the_bit(guided_clips: Any, clip_probe: Probe) -> None:
    requests = [standard_request(guided_clips, prompt, 5 + at) for at, prompt in enumerate(PROMPTS[:4])]
    results = Engine(guided_clips).run(requests)
    assert all(result.receipt.nfe == 2 * 6 for result in results)
    for result, final in zip(results, clip_probe.final, strict=True):
        assert torch.equal(result.samples[0].latents[0], final)


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_noise_is_drawn_in_the_latents_dtype(load_wan: Callable[..., Any], guidance_scale: float) -> None:
    """A bfloat16 network beside float32 latents; one lane and two."""
    model = with_defaults(load_wan("unipc", "bfloat16"), num_inference_steps=2, guidance_scale=guidance_scale)
    probe = make_probe(model, PROMPTS[:1], first_seed=5)
    assert probe.conditions[0].shape[:2] == (1, 2 if guidance_scale > 1 else 1)
    [result] = Engine(model).run([standard_request(model, PROMPTS[0], 5)])
    assert probe.final.dtype is torch.float32
    assert torch.equal(result.samples[0].latents, probe.final)


def test_frames_and_lanes_are_in_the_plan(guided_clips: Any, clip_probe: Probe) -> None:
    """Two lanes of five frames: one evaluation costs what the engine then charges for it."""
    plan = Trial(guided_clips, PROMPTS[:1], 5, clip_probe.final[:1], {}).plan("steps", 3)
    assert (plan.solver, plan.num_inference_steps, plan.granted) == ("unipc", 3, 0.5)
    cost = guided_clips.network.layout.cost(guided_clips.grid(32, 32, 5)).evaluation
    assert (plan.granted_flop, plan.full_flop) == (3 * 2 * cost, 6 * 2 * cost)


def test_a_path_of_every_step_is_the_unabridged_run(clip_probe: Probe) -> None:
    assert torch.equal(ends(clip_probe, linear_path(clip_probe, range(6))), clip_probe.final)


def test_a_gap_runs_the_solver_on_its_velocity(clip_probe: Probe) -> None:
    """The first gap repeats v_0 twice: after it rows stand where two steps told v_0 lead."""
    rows = torch.arange(len(clip_probe))
    with torch.inference_mode():
        _, passed = follow(clip_probe, linear_path(clip_probe, NODES), rows, start(clip_probe, rows))
    sample = clip_probe.course.start(clip_probe.noise)
    for _ in range(2):
        sample = clip_probe.course.move(sample, clip_probe.outputs[:, 0])
    assert torch.allclose(passed[1].latents, sample.latents, atol=1e-6)


def test_a_fit_brings_the_ends_closer(clip_probe: Probe) -> None:
    rows = torch.arange(len(clip_probe))
    before = linear_path(clip_probe, NODES)
    after = fit(clip_probe, before, rows, rounds=2)
    gained, had = (clip_probe.distance(ends(clip_probe, path), rows).mean() for path in (after, before))
    assert float(gained) < 0.9 * float(had)


def test_softcap_serves_the_path_that_was_fitted(guided_clips: Any, clip_probe: Probe) -> None:
    """Under UniPC and guidance the engine ends where the fit says, up to float32's last digits."""
    path = fit(clip_probe, linear_path(clip_probe, NODES), torch.arange(len(clip_probe)), rounds=1)
    features = features_of(clip_probe).shape[1]
    table = {"paths": [path.velocities(clip_probe)], "weights": [0.0] * features, "offset": 0.0}
    trial = Trial(guided_clips, PROMPTS[:4], 5, ends(clip_probe, path), {"softcap": table})
    outcome = trial.run(trial.plan("softcap", len(NODES), {"path_0": 0.0}, mode="hard"))
    assert outcome.full.tolist() == [[True, False, True, True, False, False]] * 4
    assert outcome.spent.tolist() == pytest.approx([0.5] * 4)
    assert float(outcome.distance.max()) < 1e-5


def test_the_tables_are_of_the_conditional_lane(guided_clips: Any, clip_probe: Probe) -> None:
    """A probe without the second lane, along the same runs, gives the same."""
    alone = with_defaults(guided_clips, guidance_scale=1.0)
    known = {"outputs": clip_probe.outputs, "final": clip_probe.final}
    single = make_probe(alone, PROMPTS[:4], 5, known)
    for table in (teacache_polynomial, magcache_ratios, drift_scales):
        assert table(clip_probe) == table(single)
    assert torch.equal(features_of(clip_probe), features_of(single))
