"""Write a complete WanPipeline folder in bf16."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from transformers import T5Tokenizer, UMT5EncoderModel

from workers.training.clips import (
    CLIP_BACKGROUNDS,
    CLIP_COLOURS,
    CLIP_OBJECTS,
    DIRECTIONS,
    SPEEDS,
    ClipAttributes,
    Mover,
    clip_caption,
)
from workers.training.pipeline_folder import place_pipeline
from workers.training.tokenization import train_t5_tokenizer
from workers.training.video.architecture import (
    TEXT_TOKENS,
    build_autoencoder,
    build_scheduler,
    build_text_encoder,
    build_transformer,
)


class TextToVideo(torch.nn.Module):
    """The jointly trained part of the pipeline: denoiser and text encoder."""

    def __init__(self, tokenizer: T5Tokenizer) -> None:
        super().__init__()
        self.transformer: WanTransformer3DModel = build_transformer()
        self.text_encoder: UMT5EncoderModel = build_text_encoder(len(tokenizer))


def build_tokenizer() -> T5Tokenizer:
    """The tokenizer of the clips' captions; deterministic, so it is trained again rather than kept."""
    return train_t5_tokenizer(clip_corpus(), TEXT_TOKENS)


def clip_corpus() -> list[str]:
    """Captions that hold every word of the grammar, many times over."""
    names = product(CLIP_OBJECTS, CLIP_COLOURS, DIRECTIONS, SPEEDS, CLIP_BACKGROUNDS)
    partner = Mover("star", "red", "left", "slow")
    corpus = []
    for *mover, background in names:
        movers = (Mover(*mover), partner)
        corpus += [clip_caption(ClipAttributes(movers[:count], background)) for count in (1, 2)]
    return corpus


def write_pipeline(
    model: TextToVideo, autoencoder: AutoencoderKLWan, folder: Path, records: dict[str, Any]
) -> None:
    """Save everything in bf16 beside the folder, then put it in its place.

    The networks are copied: the ones given keep their dtype. `records` are JSON files to lay beside them.
    """
    tokenizer = build_tokenizer()
    transformer = WanTransformer3DModel.from_config(model.transformer.config)
    transformer.load_state_dict(model.transformer.state_dict())
    text_encoder = build_text_encoder(len(tokenizer))
    text_encoder.load_state_dict(model.text_encoder.state_dict())
    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder.bfloat16(),
        vae=rounded(autoencoder),
        scheduler=build_scheduler(),
        transformer=transformer.bfloat16(),
    )
    place_pipeline(pipeline, folder, records)


def rounded(autoencoder: AutoencoderKLWan) -> AutoencoderKLWan:
    """A copy in bf16."""
    copy = build_autoencoder(autoencoder.config.latents_mean, autoencoder.config.latents_std)
    copy.load_state_dict(autoencoder.state_dict())
    return copy.bfloat16()
