"""From a name to a model: where it is looked for, what names its weights, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from protocol.calibration import CALIBRATION_FILE, Calibration, CalibrationPoint
from protocol.methods import CACHES, FEWER_STEPS
from workers.models import load
from workers.models.folder import digest_of


@pytest.fixture
def copy_of(flux_root: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A private copy of a tiny checkpoint."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(flux_root / name, tmp_path / name))

    return copy


def test_a_name_is_found_under_the_checkpoints_root(flux_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHEOSTAT_CHECKPOINTS", str(flux_root))
    model = load("plain", dtype="float32")
    assert (model.name, model.family, model.catalog.name) == ("plain", "flux", "plain")


def test_a_name_is_found_in_the_working_directory(flux_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installed package has no checkpoints beside it."""
    monkeypatch.delenv("RHEOSTAT_CHECKPOINTS", raising=False)
    monkeypatch.chdir(flux_root.parent)
    flux_root.rename(flux_root.parent / "checkpoints")
    try:
        assert load("plain").name == "plain"
    finally:
        (flux_root.parent / "checkpoints").rename(flux_root)


def test_an_unknown_name_lists_the_known(flux_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHEOSTAT_CHECKPOINTS", str(flux_root))
    with pytest.raises(LookupError, match="distilled, plain"):
        load("flux-huge")


def test_an_unknown_dtype_lists_the_known(flux_root: Path) -> None:
    with pytest.raises(LookupError, match="bfloat16, float32, float16"):
        load(flux_root / "plain", dtype="int8")


def test_an_unknown_family_lists_the_known(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("plain")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "SanaPipeline"}))
    with pytest.raises(LookupError, match=r"SanaPipeline.*FluxPipeline"):
        load(folder)


def test_the_digest_names_the_weights(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("plain")
    before = digest_of(folder)
    (folder / "README.md").write_text("a card changes nothing")
    (folder / "rheostat.json").write_text("{}")
    assert digest_of(folder) == before
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(data)
    assert digest_of(folder) != before


def test_the_catalog_says_what_the_folder_can(load_flux: Callable[..., Any]) -> None:
    plain, distilled = load_flux("plain").catalog, load_flux("distilled").catalog
    assert (plain.sizes.multiple, distilled.sizes.multiple) == (8, 16)
    assert (plain.sizes.min_side, distilled.sizes.min_side) == (32, 64)
    assert (plain.embedded_guidance, distilled.embedded_guidance) == (False, True)
    assert "negative_prompt" in plain.input_fields
    assert "negative_prompt" not in distilled.input_fields
    assert plain.shapes.text_tokens == 16
    assert plain.methods == (*FEWER_STEPS, *CACHES)
    assert (plain.calibration, plain.points) == (None, ())


def test_a_calibration_beside_the_weights_is_told_of(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("plain")
    made = Calibration(
        digest=digest_of(folder),
        created=0,
        model_created=0,
        num_inference_steps=4,
        settings={},
        points=(CalibrationPoint(method="fora", steps=4, budget=0.5, spent=0.5, distance=0.1, tail=0.1),),
        tables={},
    )
    (folder / CALIBRATION_FILE).write_text(made.model_dump_json())
    model = load(folder)
    assert (model.calibration, model.catalog.digest) == (made, made.digest)
    assert (model.catalog.calibration, model.catalog.points) == (made.id, made.points)
    (folder / CALIBRATION_FILE).write_text(made.model_copy(update={"digest": "0" * 64}).model_dump_json())
    with pytest.raises(ValueError, match="other weights"):
        load(folder)


def test_rheostat_json_narrows_the_architecture(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("plain")
    settings = {"defaults": {"width": 48, "num_inference_steps": 9}, "sizes": {"max_side": 96}}
    (folder / "rheostat.json").write_text(json.dumps(settings))
    entry = load(folder).catalog
    assert (entry.defaults.width, entry.defaults.num_inference_steps) == (48, 9)
    assert (entry.sizes.max_side, entry.sizes.min_side) == (96, 32)


def test_without_rheostat_json_the_defaults_are_the_familys(copy_of: Callable[[str], Path]) -> None:
    """f4 and 128 latent cells make 512 pixels; no guidance and no shifting, schnell's 4 steps."""
    folder, dev = copy_of("plain"), copy_of("distilled")
    for path in (folder, dev):
        (path / "rheostat.json").unlink()
    assert load(folder).catalog.defaults.model_dump(exclude_none=True) == {
        "width": 512,
        "height": 512,
        "num_inference_steps": 4,
        "guidance_scale": 3.5,
    }
    assert load(dev).catalog.defaults.num_inference_steps == 28


def test_rheostat_json_with_an_unknown_key_is_refused(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("plain")
    (folder / "rheostat.json").write_text('{"sizes": {"multiple": 1}}')
    with pytest.raises(ValidationError, match=r"sizes\.multiple"):
        load(folder)
