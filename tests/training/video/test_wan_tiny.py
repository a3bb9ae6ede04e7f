"""Stopped and resumed equals run through; the shapes are Wan's; the folder is a whole WanPipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanPipeline
from torch.utils._pytree import tree_leaves

from tests.training.resuming import resumed_and_through
from workers.models.folder import FolderSettings
from workers.training.clips import sample_clips
from workers.training.optimisers import hidden_matrices
from workers.training.resumable import Deadline, Trainee
from workers.training.settings import TransformerSettings
from workers.training.video.architecture import (
    LATENT_SHAPE,
    TEXT_TOKENS,
    build_autoencoder,
    build_transformer,
)
from workers.training.video.autoencoder import WanAutoencoderTrainee, latent_statistics, reconstruct, to_video
from workers.training.video.evaluation import generate
from workers.training.video.judge_training import ClipReaderTrainee
from workers.training.video.muon import FloatMuon, orthogonalise
from workers.training.video.pipeline_folder import TextToVideo, build_tokenizer, write_pipeline
from workers.training.video.pool import ClipPool, build_pool, load_pool, tokenise
from workers.training.video.recipe import SERVED_AS
from workers.training.video.settings import (
    ClipPoolSettings,
    ClipReaderSettings,
    WanAutoencoderSettings,
    WanTinySettings,
)
from workers.training.video.wan_tiny import WanTinyTrainee, encode_text, predict


def narrow_model() -> TextToVideo:
    torch.manual_seed(0)
    model = TextToVideo(build_tokenizer())
    model.transformer = build_transformer(num_layers=2, num_attention_heads=2)
    return model


def reader_trainee() -> Trainee:
    return ClipReaderTrainee(ClipReaderSettings(num_steps=4, batch=8), seed=3)


def autoencoder_trainee() -> Trainee:
    """Stopped after step 2, where frames give way to clips."""
    settings = WanAutoencoderSettings(frame_steps=2, frame_batch=2, clip_steps=2, clip_batch=1)
    return WanAutoencoderTrainee(settings, seed=3)


def wan_trainee() -> Trainee:
    tokenizer = build_tokenizer()
    latents = np.random.default_rng(0).normal(size=(4, *LATENT_SHAPE)).astype(np.float16)
    settings = TransformerSettings(
        num_steps=4, warmup_steps=1, decay_steps=2, guided_steps=2, batch=4, ranks=1, compiled=False
    )
    ids = tokenise([clip.caption for clip in sample_clips(4, 0)], tokenizer)
    pool = ClipPool(latents, [0.0] * 8, [1.0] * 8, ids)
    return WanTinyTrainee(settings, 3, narrow_model(), pool, tokenise([""], tokenizer))


@pytest.mark.parametrize("build", [reader_trainee, autoencoder_trainee, wan_trainee])
def test_stopped_and_resumed_equals_run_through(build: Callable[[], Trainee], tmp_path: Path) -> None:
    resumed, through = resumed_and_through(build, tmp_path)
    ours, theirs = tree_leaves(resumed), tree_leaves(through)
    assert len(ours) == len(theirs) > 10
    tensors = [pair for pair in zip(ours, theirs, strict=True) if isinstance(pair[0], torch.Tensor)]
    assert all(torch.equal(left, right) for left, right in tensors)
    assert any(left.is_floating_point() and left.abs().sum() > 0 for left, _ in tensors)


def test_shapes_are_the_reference_model_s() -> None:
    """9 frames of 32 pixels become 5 slices of 8 x 8, cells of 2 x 2 make 80 tokens of them."""
    vae = build_autoencoder()
    pixels = to_video([clip.frames for clip in sample_clips(1, 0)])
    with torch.inference_mode():
        latents = vae.encode(pixels).latent_dist.mean
        assert latents.shape == (1, *LATENT_SHAPE) == (1, 8, 5, 8, 8)
        assert vae.decode(latents).sample.shape == pixels.shape == (1, 3, 9, 32, 32)
        assert vae.encode(pixels[:, :, :1]).latent_dist.mean.shape == (1, 8, 1, 8, 8)
    model = TextToVideo(build_tokenizer())
    config = model.transformer.config
    assert (config.num_layers, config.num_attention_heads, config.attention_head_dim) == (10, 10, 16)
    assert (config.ffn_dim, config.patch_size, config.text_dim) == (448, (1, 2, 2), 64)
    assert sum(each.numel() for each in vae.parameters()) == pytest.approx(0.63e6, rel=0.01)
    assert sum(each.numel() for each in model.parameters()) == pytest.approx(3.9e6, rel=0.01)


def test_the_first_prediction_is_zero_and_the_blocks_matrices_are_muon_s() -> None:
    """A block has 4 + 4 attention matrices and 2 of its feed-forward."""
    model = narrow_model()
    ids = tokenise(["a red apple"], build_tokenizer())
    assert predict(model, torch.randn(2, *LATENT_SHAPE), torch.rand(2), ids).abs().max() == 0
    assert len(hidden_matrices(model)) == 2 * (4 + 4 + 2)


def test_text_is_embedded_as_the_pipeline_embeds_it() -> None:
    model, tokenizer = narrow_model(), build_tokenizer()
    pipeline = WanPipeline(tokenizer, model.text_encoder, build_autoencoder(), None, model.transformer)
    captions = ["a red apple moving fast left on a gray background", ""]
    theirs, _ = pipeline.encode_prompt(captions, None, False, max_sequence_length=TEXT_TOKENS)
    with torch.inference_mode():
        ours = encode_text(model, tokenise(captions, tokenizer))
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert ours[1, 1:].abs().max() == 0  # the empty caption is its end and nothing else


def test_every_caption_fits_the_text_tokens_in_whole_words() -> None:
    tokenizer = build_tokenizer()
    captions = [clip.caption for clip in sample_clips(300, 1)]
    ids = tokenise([*captions, *(caption.capitalize() for caption in captions)], tokenizer)
    assert set(ids[:, -1].tolist()) <= {0, 1}
    assert ids.ne(0).sum(1).tolist() == [len(caption.split()) + 1 for caption in captions * 2]


def test_muon_in_float32_is_torch_s_up_to_bfloat16() -> None:
    def trained(kind: type[torch.optim.Muon]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        matrices = [torch.nn.Parameter(torch.randn(shape)) for shape in ((16, 16), (16, 16), (24, 16))]
        optimiser = kind(matrices, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        for _ in range(2):
            for matrix in matrices:
                matrix.grad = torch.randn(matrix.shape)
            optimiser.step()
        return [matrix.detach() for matrix in matrices]

    for ours, theirs in zip(trained(FloatMuon), trained(torch.optim.Muon), strict=True):
        assert torch.allclose(ours, theirs, atol=5e-3)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    """The quintic's band is about .7 to 1.2; a matrix of one direction only keeps the others at zero."""
    matrices = torch.randn(2, 12, 20, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices, (3.4445, -4.7750, 2.0315), 5))
    assert 0.6 < float(values.min()) < float(values.max()) < 1.3


def test_pool_goes_on_where_it_stopped_and_whitens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.training.video.pool._CHUNK", 4)
    torch.manual_seed(0)
    vae, settings = build_autoencoder(), ClipPoolSettings(num_scenes=6, batch=4)
    through, resumed = tmp_path / "through.npy", tmp_path / "resumed.npy"
    assert build_pool(vae, settings, through, Deadline())
    assert not build_pool(vae, settings, resumed, Deadline(0.0))
    assert not resumed.exists()
    assert build_pool(vae, settings, resumed, Deadline())
    assert through.read_bytes() == resumed.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in ("through", "resumed") for kind in ("npy", "txt")
    }

    pool = load_pool(resumed, build_tokenizer())
    white = pool.whitened(torch.arange(6))
    assert white.mean((0, 2, 3, 4)).abs().max() < 1e-3
    assert torch.allclose(white.std((0, 2, 3, 4), correction=0), torch.ones(8), atol=1e-3)


def test_statistics_by_hand() -> None:
    """Channel k holds k and k + 2 in equal numbers: mean k + 1, deviation 1."""
    latents = np.empty((2, *LATENT_SHAPE), dtype=np.float16)
    latents[0] = np.arange(8).reshape(8, 1, 1, 1)
    latents[1] = latents[0] + 2
    assert latent_statistics(latents) == ([float(k + 1) for k in range(8)], [1.0] * 8)


def test_folder_loads_with_diffusers_and_generates(tmp_path: Path) -> None:
    records = {"training.json": {"settings": WanTinySettings().model_dump()}, "rheostat.json": SERVED_AS}
    vae = build_autoencoder([0.5] * 8, [2.0] * 8)
    write_pipeline(narrow_model(), vae, tmp_path / "wan-tiny", records)
    pipeline = WanPipeline.from_pretrained(tmp_path / "wan-tiny", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    captions = [clip.caption for clip in sample_clips(2, 0, "heldout")]
    pair = generate(pipeline, captions, seed=5, num_inference_steps=2)
    assert {clip.shape for clip in pair} == {(9, 32, 32, 3)}
    (alone,) = generate(pipeline, captions[1:], seed=6, num_inference_steps=2)
    assert np.abs(alone.astype(int) - pair[1]).max() <= 1  # its own seed, whatever is beside it

    assert pipeline.vae.config.latents_std == [2.0] * 8
    assert (pipeline.scheduler.config.flow_shift, pipeline.tokenizer.model_max_length) == (3.0, TEXT_TOKENS)
    assert FolderSettings.read(tmp_path / "wan-tiny").defaults.num_frames == 9
    kept = json.loads((tmp_path / "wan-tiny" / "training.json").read_text())
    assert WanTinySettings.model_validate(kept["settings"]) == WanTinySettings()


def test_reconstructions_are_clips() -> None:
    rebuilt = reconstruct(build_autoencoder(), [clip.frames for clip in sample_clips(2, 0)], batch=1)
    assert [(clip.shape, clip.dtype) for clip in rebuilt] == [((9, 32, 32, 3), np.uint8)] * 2
