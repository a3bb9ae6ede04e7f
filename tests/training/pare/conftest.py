"""A teacher of four blocks in `wan-tiny`'s own form, its weights random, and a handful of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from workers.models.wan import Wan
from workers.training.clips import sample_clips
from workers.training.pare.settings import PareSettings
from workers.training.pare.sources import ClipSource
from workers.training.pare.stages import load_teacher
from workers.training.video.architecture import LATENT_SHAPE, build_autoencoder, build_transformer
from workers.training.video.pipeline_folder import TextToVideo, build_tokenizer, write_pipeline
from workers.training.video.pool import ClipPool, tokenise
from workers.training.video.recipe import SERVED_AS

NUM_CLIPS = 6


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 blocks, 4 heads x 16, feed-forward 448. What `wan-tiny` starts at zero is random here."""
    torch.manual_seed(0)
    model = TextToVideo(build_tokenizer())
    model.transformer = build_transformer(num_layers=4, num_attention_heads=4)
    for parameter in model.transformer.parameters():
        if not parameter.abs().sum():
            torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("teachers") / "tiny"
    write_pipeline(model, build_autoencoder(), folder, {"rheostat.json": SERVED_AS})
    return folder


@pytest.fixture(scope="session")
def teacher(teacher_folder: Path) -> Wan:
    return load_teacher(teacher_folder, PareSettings())


@pytest.fixture(scope="session")
def source(teacher: Wan) -> ClipSource:
    return ClipSource(make_pool(), teacher.pipeline)


def make_pool() -> ClipPool:
    """Noise in place of latents; captions as they are."""
    latents = np.random.default_rng(0).normal(size=(NUM_CLIPS, *LATENT_SHAPE)).astype(np.float16)
    captions = [clip.caption for clip in sample_clips(NUM_CLIPS, 0)]
    return ClipPool(latents, [0.0] * 8, [1.0] * 8, tokenise(captions, build_tokenizer()))
