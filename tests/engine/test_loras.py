"""LoRAs by name: what diffusers makes of the same file, in any company, under a digest of their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from protocol.errors import InvalidRequest
from protocol.jobs import GenerationRequest
from protocol.resolve import resolve
from tests.engine.requests import diffusers_latents, request
from tests.plugins.lora import add_lora
from workers.engine import Engine, Result, self_test
from workers.models import LoadOptions, load


@pytest.fixture(scope="module")
def folder(flux_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain checkpoint with two LoRAs."""
    from diffusers import FluxTransformer2DModel

    copy = tmp_path_factory.mktemp("loras") / "plain"
    shutil.copytree(flux_root / "plain", copy)
    transformer = FluxTransformer2DModel.from_pretrained(copy / "transformer")
    add_lora(copy, transformer, "oil", seed=1, scale=0.8)
    add_lora(copy, transformer, "ink", seed=2)
    return copy


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load(folder, dtype="float32")


def latents(results: list[Result]) -> list[torch.Tensor]:
    return [result.samples[0].latents for result in results]


def test_it_is_what_diffusers_makes_of_the_file(model: Any, folder: Path) -> None:
    from diffusers import FluxPipeline

    (ours,) = latents(Engine(model).run([request(lora="oil")]))
    pipeline = FluxPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.load_lora_weights(folder / "loras", weight_name="oil.safetensors", adapter_name="oil")
    pipeline.set_adapters(["oil"], [0.8])
    pipeline.set_progress_bar_config(disable=True)
    theirs = diffusers_latents(pipeline)
    assert torch.equal(ours, theirs)


def test_samples_of_several_share_an_engine_and_no_forward(model: Any, load_flux: Any) -> None:
    bodies = [request(lora="oil"), request(), request(lora="ink"), request(lora="oil", seed=8)]
    together = Engine(model).run(bodies)
    alone = [Engine(model).run([body])[0] for body in bodies]
    assert all(map(torch.equal, latents(together), latents(alone)))
    assert torch.equal(latents(alone)[1], latents(Engine(load_flux()).run([request()]))[0])
    moved = (latents(alone)[0] - latents(alone)[1]).abs().max()
    assert moved > 0.05, "the LoRA does something"
    self_test(model)
    assert together[0].receipt.tflops == together[1].receipt.tflops


def test_an_unknown_name_is_refused_with_those_there_are(model: Any, load_flux: Any) -> None:
    asked = GenerationRequest.model_validate(request(lora="water"))
    with pytest.raises(InvalidRequest) as refused:
        resolve(asked, model.catalog)
    assert refused.value.param == "input.lora"
    assert refused.value.details["allowed"] == ["ink", "oil"]
    with pytest.raises(InvalidRequest) as foreign:
        resolve(asked, load_flux().catalog)
    assert foreign.value.param == "input.lora"


def test_the_digest_tells_loras_apart_and_the_calibration_is_the_bare_weights(
    model: Any, load_flux: Any, folder: Path, tmp_path: Path
) -> None:
    assert model.base_digest == load_flux().catalog.digest
    assert model.catalog.digest != model.base_digest
    changed = tmp_path / "plain"
    shutil.copytree(folder, changed)
    settings = json.loads((changed / "rheostat.json").read_text())
    settings["loras"]["oil"]["scale"] = 0.9
    (changed / "rheostat.json").write_text(json.dumps(settings))
    assert load(changed, dtype="float32").catalog.digest != model.catalog.digest


def test_what_does_not_go_with_loras_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weight_dtype.*allowed: null"):
        load(folder, dtype="float32", options=LoadOptions(weights="int8"))
    broken = tmp_path / "plain"
    shutil.copytree(folder, broken)
    (broken / "loras" / "oil.safetensors").unlink()
    with pytest.raises(ValueError, match=r"loras\.oil: no file"):
        load(broken, dtype="float32")
