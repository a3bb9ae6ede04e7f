"""The clips the denoiser learns from: latents encoded once and mapped, captions tokenised once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from transformers import T5Tokenizer

from workers.training.clips import sample_clips
from workers.training.resumable import Deadline
from workers.training.video.architecture import LATENT_SHAPE, TEXT_TOKENS
from workers.training.video.autoencoder import latent_statistics, to_video
from workers.training.video.settings import ClipPoolSettings

_CHUNK = 1024  # clips encoded between two looks at the clock


@dataclass(frozen=True)
class ClipPool:
    """Latents (N, 8, 5, 8, 8) float16, mapped and not whitened; their statistics; captions' ids (N, 24)."""

    latents: np.ndarray[Any, Any]
    mean: list[float]
    deviation: list[float]
    ids: Tensor

    def whitened(self, rows: Tensor) -> Tensor:
        """Latents of zero mean and unit deviation as the transformer takes them, (B, 8, 5, 8, 8) float32."""
        latents = torch.from_numpy(self.latents[rows.numpy()].astype(np.float32))
        mean, deviation = (torch.tensor(each).view(1, -1, 1, 1, 1) for each in (self.mean, self.deviation))
        return (latents - mean) / deviation


def tokenise(captions: list[str], tokenizer: T5Tokenizer) -> Tensor:
    """Pad and cut captions to `TEXT_TOKENS`, (N, 24); 0 is padding."""
    ids: Tensor = tokenizer(
        captions, padding="max_length", max_length=TEXT_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    return ids


def build_pool(
    autoencoder: AutoencoderKLWan, settings: ClipPoolSettings, path: Path, deadline: Deadline
) -> bool:
    """Draw the training clips, encode them, and write latents (.npy) and captions (.txt).

    Every chunk is a file of its own until all are there, so it goes on where it stopped.

    Returns:
        False when the deadline came first.
    """
    starts = range(0, settings.num_scenes, _CHUNK)
    for start in starts:
        chunk = _chunk_path(path, start)
        if not chunk.exists():
            count = min(_CHUNK, settings.num_scenes - start)
            _write_chunk(autoencoder, count, settings.seed + start, settings.batch, chunk)
            print("pool", start + count, flush=True)
            if deadline.passed() and start != starts[-1]:
                return False
    _join([_chunk_path(path, start) for start in starts], path)
    return True


def load_pool(path: Path, tokenizer: T5Tokenizer) -> ClipPool:
    """Map a pool that `build_pool` wrote."""
    latents = np.load(path, mmap_mode="r")
    captions = path.with_suffix(".txt").read_text().split("\n")
    return ClipPool(latents, *latent_statistics(latents), tokenise(captions, tokenizer))


def _chunk_path(path: Path, start: int) -> Path:
    return path.with_name(f"{path.stem}-{start:06d}.npy")


@torch.inference_mode()
def _write_chunk(autoencoder: AutoencoderKLWan, count: int, seed: int, batch: int, chunk: Path) -> None:
    """Posterior means and captions of one chunk; the .npy comes last, as the sign that both are whole."""
    clips = sample_clips(count, seed)
    rng = random.Random(f"clip-captions-{seed}")
    captions = [clip.caption.capitalize() if rng.random() < 1 / 8 else clip.caption for clip in clips]
    chunk.with_suffix(".txt").write_text("\n".join(captions))
    parts = [
        autoencoder.encode(to_video([clip.frames for clip in clips[start : start + batch]])).latent_dist.mean
        for start in range(0, count, batch)
    ]
    partial = chunk.with_suffix(".partial.npy")
    np.save(partial, torch.cat(parts).half().numpy())
    partial.rename(chunk)


def _join(chunks: list[Path], path: Path) -> None:
    """Put the chunks into one mapped file and drop them."""
    parts = [np.load(chunk, mmap_mode="r") for chunk in chunks]
    partial = path.with_suffix(".partial.npy")
    shape = (sum(map(len, parts)), *LATENT_SHAPE)
    pool = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
    np.concatenate(parts, out=pool)
    pool.flush()
    texts = [chunk.with_suffix(".txt") for chunk in chunks]
    path.with_suffix(".txt").write_text("\n".join(text.read_text() for text in texts))
    partial.rename(path)
    for leftover in (*chunks, *texts):
        leftover.unlink()
