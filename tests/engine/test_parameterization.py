"""A network that predicts x0 or eps runs as the flow it stands for: under every solver, cache and family."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from protocol.plan import Plan
from tests.acceleration.support import plan_for, run_one
from tests.engine.clips import clip, reference
from tests.engine.requests import diffusers_latents, request
from tests.models.networks import evaluate
from tests.plugins.once import pipelines_in
from tests.sampling.runs import walk
from workers.core import Batch, Prediction
from workers.engine import Engine
from workers.models import load
from workers.models.folder import digest_of
from workers.sampling import flow_schedule, initial_noise
from workers.training.calibration.probe import make_probe, standard_request

SOLVERS = ("euler", "ab2", "dpmpp-2m", "unipc", "heun")
TARGETS = {"x0": {"target": "x0"}, "x0-clamped": {"target": "x0", "clamp": 0.5}, "eps": {"target": "eps"}}


@pytest.fixture(scope="module")
def root(flux_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same random weights under each declaration."""
    root = tmp_path_factory.mktemp("declared")
    for name, declaration in TARGETS.items():
        folder = Path(shutil.copytree(flux_root / "plain", root / name))
        settings = json.loads((folder / "rheostat.json").read_text())
        (folder / "rheostat.json").write_text(json.dumps(settings | {"prediction": declaration}))
    return root


@pytest.fixture(scope="module")
def models(root: Path) -> dict[str, Any]:
    return {name: load(root / name, dtype="float32") for name in TARGETS}


def flow_by_hand(name: str, output: Tensor, latents: Tensor, sigma: float) -> Tensor:
    if name == "eps":
        return (output - latents) / max(1 - sigma, 0.05)
    return (latents - output) / max(sigma, 0.5 if name == "x0-clamped" else 0.0)


def planned(solver: str, steps: int) -> Plan:
    return Plan(methods=(), num_inference_steps=steps, solver=solver, granted_flop=1, full_flop=1)


def asked_directly(model: Any, prompt: str) -> Callable[[Tensor, float], Tensor]:
    """The same network, outside the engine, its output converted here."""
    condition, grid = model.encode(prompt, None), model.grid(64, 64)

    def velocity(latents: Tensor, sigma: float) -> Tensor:
        batch = Batch(latents, torch.tensor([1000 * sigma]), condition.tensors, (), grid)
        return flow_by_hand(model.name, evaluate(model, batch), latents, sigma)

    return velocity


def walked(model: Any, solver: str, velocity: Callable[[Tensor, float], Tensor]) -> Tensor:
    """Where four steps of a velocity end, from the noise of seed 7."""
    grid = model.grid(64, 64)
    noise = model.pack(initial_noise(model.noise_shape(grid), 7, torch.float32, model.device))
    return walk(solver, velocity, noise, flow_schedule(model.scheduler_config, 4, grid.num_tokens))[-1]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", TARGETS)
@torch.inference_mode()
def test_every_solver_runs_the_converted_flow(models: dict[str, Any], name: str, solver: str) -> None:
    model = models[name]
    expected = walked(model, solver, asked_directly(model, "a red apple"))
    ours = run_one(model, request(name, num_inference_steps=4), planned(solver, 4)).samples[0].latents
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_two_lanes_are_guided_as_flows(models: dict[str, Any]) -> None:
    model = models["x0-clamped"]
    cond, uncond = (asked_directly(model, prompt) for prompt in ("a red apple", "a car"))

    def guided(latents: Tensor, sigma: float) -> Tensor:
        return uncond(latents, sigma) + 2.5 * (cond(latents, sigma) - uncond(latents, sigma))

    body = request(model.name, num_inference_steps=4, negative_prompt="a car", guidance_scale=2.5)
    ours = run_one(model, body, planned("euler", 4)).samples[0].latents
    torch.testing.assert_close(ours, walked(model, "euler", guided), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TARGETS)
def test_the_engine_equals_diffusers_pipeline_on_converted_outputs(root: Path, name: str) -> None:
    """FluxPipeline with its transformer's output converted in between; a random network is no flow itself."""
    pipeline = pipelines_in(root, name)(name, "float32")
    forward, scheduler = pipeline.transformer.forward, pipeline.scheduler

    def converted(*arguments: Any, **given: Any) -> tuple[Tensor]:
        sigma = float(scheduler.sigmas[scheduler.step_index or 0])
        output = forward(*arguments, **given)[0]
        return (flow_by_hand(name, output, given["hidden_states"], sigma),)

    pipeline.transformer.forward = converted
    theirs = diffusers_latents(pipeline)
    (ours,) = Engine(load(root / name, dtype="float32")).run([request(name)])
    torch.testing.assert_close(ours.samples[0].latents, theirs, rtol=1e-5, atol=1e-5)


def test_the_last_step_of_x0_lands_on_it_and_a_clamp_stops_short(models: dict[str, Any]) -> None:
    """One Euler step from sigma 1 goes to x0 itself, whatever the clamp; with two, the last begins at .5.

    There a clamp of .5 changes nothing either; under 4 steps the last begins at .25 and goes half the way.
    """
    free, clamped = models["x0"], models["x0-clamped"]
    for steps, equal in ((1, True), (2, True), (4, False)):
        ends = [
            Engine(model).run([request(model.name, num_inference_steps=steps)])[0].samples[0].latents
            for model in (free, clamped)
        ]
        assert torch.equal(*ends) is equal


@pytest.mark.parametrize("method", ["static", "softcap", "softcap-paper", "taylorseer", "speca", "teacache"])
def test_alone_equals_in_company_under_caches(models: dict[str, Any], method: str) -> None:
    model = models["x0"]
    body = request("x0", num_inference_steps=6)
    plan = plan_for(model, body, method, nodes=(0, 1, 3))
    alone = run_one(model, body, plan).samples[0]
    engine = Engine(model)
    engine.add(request("x0", seed=3, num_inference_steps=4))
    engine.step()
    job = engine.add(body, plan=plan)
    found = {}
    while not engine.idle:
        found |= {event.id: event for event in engine.step() if type(event).__name__ == "SampleFinished"}
    assert torch.equal(found[job].result.latents, alone.latents)


def test_a_calibrations_runs_are_the_engines(models: dict[str, Any]) -> None:
    for model in models.values():
        probe = make_probe(model, ["a red apple", "the sun"], first_seed=5)
        bodies = [
            standard_request(model, prompt, 5 + place)
            for place, prompt in enumerate(("a red apple", "the sun"))
        ]
        ends = torch.cat([result.samples[0].latents for result in Engine(model).run(bodies)])
        torch.testing.assert_close(probe.final, ends, rtol=1e-5, atol=1e-5)


def test_wans_unipc_predicts_the_sample_as_diffusers_does(wan_root: Path, tmp_path: Path) -> None:
    """diffusers takes the data as it is, we by way of the flow: equal to rounding, not to the bit."""
    folder = Path(shutil.copytree(wan_root / "unipc", tmp_path / "unipc"))
    path = folder / "scheduler" / "scheduler_config.json"
    path.chmod(0o644)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "sample"}))
    model = load(folder, dtype="float32")
    assert model.network.layout.prediction is Prediction.X0
    body = clip("unipc", num_inference_steps=5)
    (result,) = Engine(model).run([body])
    theirs = reference(pipelines_in(tmp_path, "unipc")(), body)
    torch.testing.assert_close(result.samples[0].latents, theirs, rtol=1e-4, atol=1e-4)


def test_another_declaration_is_another_model(root: Path, flux_root: Path) -> None:
    """Calibrations made under one must not be read under the other; stock folders keep their digest."""
    digests = {digest_of(folder) for folder in (*(root / name for name in TARGETS), flux_root / "plain")}
    assert len(digests) == 4
