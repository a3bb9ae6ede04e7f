"""The committed folder is a whole FluxPipeline, small, readable, and follows its tokenizers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline

from workers.training.architecture import TEXT_TOKENS, build_autoencoder
from workers.training.autoencoder import reconstruct
from workers.training.evaluation import figures, generate
from workers.training.pipeline_folder import TextToLatent, build_tokenizers, write_pipeline
from workers.training.pool import tokenise
from workers.training.recipes import DEFAULT_OUT, train
from workers.training.scenes import sample_scenes
from workers.training.settings import FluxTinySettings

FOLDER = DEFAULT_OUT / "flux-tiny"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def pipeline() -> FluxPipeline:
    loaded = FluxPipeline.from_pretrained(FOLDER, dtype=torch.bfloat16)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_folder_is_whole_small_and_readable_by_all() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    parts = {"scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "vae"}
    assert {path.name for path in FOLDER.iterdir() if path.is_dir()} == parts
    assert sum(path.stat().st_size for path in files) <= 20_000_000
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in files)


def test_settings_are_recorded_and_still_known() -> None:
    record = json.loads((FOLDER / "training.json").read_text())
    FluxTinySettings.model_validate(record["settings"])
    assert record["step"] > 0


def test_pipeline_s_tokenizers_are_the_ones_it_was_trained_with(pipeline: FluxPipeline) -> None:
    captions = [scene.caption for scene in sample_scenes(50, 0, "heldout")]
    fresh, kept = (
        tokenise(captions, *build_tokenizers()),
        tokenise(captions, pipeline.tokenizer, pipeline.tokenizer_2),
    )
    assert torch.equal(fresh.clip, kept.clip)
    assert torch.equal(fresh.t5, kept.t5)
    assert pipeline.tokenizer_2.model_max_length == TEXT_TOKENS
    assert pipeline.tokenizer_2.unk_token_id not in kept.t5


def test_every_caption_fits_the_text_tokens(pipeline: FluxPipeline) -> None:
    """The last token of a padded row is padding or the end, so nothing was cut."""
    kept = tokenise(
        [scene.caption for scene in sample_scenes(500, 1)], pipeline.tokenizer, pipeline.tokenizer_2
    )
    assert set(kept.t5[:, -1].tolist()) <= {0, 1}
    assert set(kept.clip[:, -1].tolist()) == {pipeline.tokenizer.eos_token_id}


def test_autoencoder_passes_its_gate(pipeline: FluxPipeline) -> None:
    scenes = sample_scenes(100, 2, "calibration")
    rebuilt = reconstruct(pipeline.vae, [scene.image for scene in scenes])
    found = figures(rebuilt, [scene.attributes for scene in scenes])
    assert found["object"] >= 0.95
    assert found["background"] == 1.0


def test_it_paints_what_the_caption_says(pipeline: FluxPipeline) -> None:
    """24 held-out captions at 10 steps: backgrounds nearly all, objects far above one in 48."""
    scenes = sample_scenes(24, 3, "heldout")
    images = generate(pipeline, [scene.caption for scene in scenes], seed=0, num_inference_steps=10, batch=24)
    found = figures(images, [scene.attributes for scene in scenes])
    assert found["background"] >= 0.9
    assert found["object"] >= 0.4


def test_writing_replaces_a_folder_in_one_go(tmp_path: Path) -> None:
    model, folder = TextToLatent(*build_tokenizers()), tmp_path / "flux-tiny"
    for step in (1, 2):
        write_pipeline(model, build_autoencoder(1.5, 0.25), folder, {"training.json": {"step": step}})
    assert json.loads((folder / "training.json").read_text()) == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["flux-tiny"]
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    assert (vae.config.scaling_factor, vae.config.shift_factor) == (1.5, 0.25)


def test_unknown_recipes_and_stages_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is: flux-tiny"):
        train("flux-huge", cache=tmp_path, out=tmp_path)
    with pytest.raises(ValueError, match="sprites, judge-main"):
        train("flux-tiny", cache=tmp_path, out=tmp_path, until="lunch")
