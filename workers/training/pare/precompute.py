"""Encode a folder of videos and captions once, so that a large teacher trains without autoencoder and UMT5.

`clip.mp4` goes with `clip.txt`. What comes out is what `ShardSource` reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from diffusers import WanPipeline
from safetensors.torch import save_file
from torch import Tensor

from protocol.shapes import MAX_TEXT_TOKENS
from workers.training.pare.sources import EMPTY_FILE
from workers.training.video.autoencoder import to_video


def precompute(
    teacher: Path,
    videos: Path,
    out: Path,
    *,
    width: int,
    height: int,
    num_frames: int,
    device: str = "cpu",
    rows: int = 64,
) -> int:
    """Write shards of `rows` clips in bf16; a shard that is there is not made again.

    Args:
        teacher: the WanPipeline folder whose autoencoder and text encoder are used.
        videos: `*.mp4`, each with its caption in a `.txt` of the same name.
        width, height, num_frames: every clip's first frames, scaled to this size; 1 + 4 k frames.

    Returns:
        How many clips there are.

    Raises:
        ValueError: no videos, a caption missing, or a video of fewer frames.
    """
    paths = sorted(videos.glob("*.mp4"))
    if not paths:
        raise ValueError(f"no .mp4 in {videos}")
    pipeline = WanPipeline.from_pretrained(teacher, transformer=None, dtype=torch.float32).to(device)
    out.mkdir(parents=True, exist_ok=True)
    _write({"prompt_embeds": _text(pipeline, [""])}, out / EMPTY_FILE)
    for start in range(0, len(paths), rows):
        shard = out / f"shard-{start:08d}.safetensors"
        if not shard.exists():
            part = paths[start : start + rows]
            clips = (_latents(pipeline, read_frames(path, width, height, num_frames)) for path in part)
            captions = [_caption(path) for path in part]
            _write({"latents": torch.cat(list(clips)), "prompt_embeds": _text(pipeline, captions)}, shard)
            print("precompute", start + len(part), "of", len(paths), flush=True)
    return len(paths)


def read_frames(path: Path, width: int, height: int, num_frames: int) -> np.ndarray[Any, Any]:
    """A video's first frames at this size, (F, height, width, 3) uint8.

    Raises:
        ValueError: it has fewer.
    """
    frames = list(islice(_decode(path, width, height), num_frames))
    if len(frames) < num_frames:
        raise ValueError(f"{path.name} has {len(frames)} frames, {num_frames} are needed")
    return np.stack(frames)


def _decode(path: Path, width: int, height: int) -> Iterator[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(width=width, height=height, format="rgb24")


def _caption(path: Path) -> str:
    written = path.with_suffix(".txt")
    if not written.exists():
        raise ValueError(f"{path.name} has no caption {written.name}")
    return written.read_text("utf-8").strip()


@torch.no_grad()
def _latents(pipeline: Any, frames: np.ndarray[Any, Any]) -> Tensor:
    """Posterior mean, whitened as WanPipeline's latents are, (1, C, F, h, w)."""
    vae = pipeline.vae
    mean, deviation = (
        torch.tensor(numbers, device=vae.device).view(1, -1, 1, 1, 1)
        for numbers in (vae.config.latents_mean, vae.config.latents_std)
    )
    encoded = vae.encode(to_video([frames]).to(vae.device)).latent_dist.mean
    whitened: Tensor = (encoded - mean) / deviation
    return whitened


@torch.no_grad()
def _text(pipeline: Any, captions: Sequence[str]) -> Tensor:
    """(B, T, D), zero after a caption's end."""
    tokens = min(pipeline.tokenizer.model_max_length, MAX_TEXT_TOKENS)
    embeds, _ = pipeline.encode_prompt(
        list(captions), do_classifier_free_guidance=False, max_sequence_length=tokens
    )
    result: Tensor = embeds
    return result


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    partial = path.with_suffix(".partial")
    save_file({name: value.bfloat16().cpu().contiguous() for name, value in tensors.items()}, partial)
    partial.replace(path)
