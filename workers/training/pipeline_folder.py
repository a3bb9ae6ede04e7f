"""Write a complete FluxPipeline folder: bf16, readable by every user, replaced in one rename."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from workers.training.architecture import build_clip, build_scheduler, build_t5, build_transformer
from workers.training.tokenization import train_clip_tokenizer, train_t5_tokenizer


class TextToLatent(torch.nn.Module):
    """The jointly trained part of the pipeline: denoiser and both text encoders."""

    def __init__(self, clip_tokenizer: CLIPTokenizer, t5_tokenizer: T5Tokenizer) -> None:
        super().__init__()
        self.transformer: FluxTransformer2DModel = build_transformer()
        self.clip: CLIPTextModel = build_clip(
            len(clip_tokenizer),
            bos=clip_tokenizer.bos_token_id,
            eos=clip_tokenizer.eos_token_id,
            pad=clip_tokenizer.pad_token_id,
        )
        self.t5: T5EncoderModel = build_t5(len(t5_tokenizer))


def build_tokenizers() -> tuple[CLIPTokenizer, T5Tokenizer]:
    """Both tokenizers; deterministic, so they are trained again rather than kept."""
    return train_clip_tokenizer(), train_t5_tokenizer()


def write_pipeline(
    model: TextToLatent, autoencoder: AutoencoderKL, folder: Path, records: dict[str, Any] | None = None
) -> None:
    """Save everything in bf16 beside the folder, then put it in its place.

    The networks are copied: the ones given keep their dtype. `records` are JSON files to lay beside them.
    """
    clip_tokenizer, t5_tokenizer = build_tokenizers()
    copy = TextToLatent(clip_tokenizer, t5_tokenizer)
    copy.load_state_dict(model.state_dict())
    vae = AutoencoderKL.from_config(autoencoder.config)
    vae.load_state_dict(autoencoder.state_dict())
    pipeline = FluxPipeline(
        scheduler=build_scheduler(),
        vae=vae.bfloat16(),
        text_encoder=copy.clip.bfloat16(),
        tokenizer=clip_tokenizer,
        text_encoder_2=copy.t5.bfloat16(),
        tokenizer_2=t5_tokenizer,
        transformer=copy.transformer.bfloat16(),
    )
    place_pipeline(pipeline, folder, records or {})


def place_pipeline(pipeline: DiffusionPipeline, folder: Path, records: dict[str, Any]) -> None:
    """Save a pipeline and JSON `records` beside the folder, readable by all, then put it in its place."""
    place_folder(pipeline.save_pretrained, folder, records)


def place_folder(fill: Callable[[Path], None], folder: Path, records: dict[str, Any]) -> None:
    """Let `fill` write a folder beside this one, add JSON `records`, then put it in its place."""
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fill(fresh)
    for name, record in records.items():
        (fresh / name).write_text(json.dumps(record, indent=2) + "\n")
    for path in fresh.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
