"""The latents both targets learn from, encoded once; their spectrum; and their whitened form."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from workers.training.draws import distinct
from workers.training.jlt.frozen import Frozen
from workers.training.jlt.settings import LatentPoolSettings, Latents
from workers.training.scenes import Attributes, Kind, Scene, Split, sample_attributes, scene_of

_CHUNK = 1024
_LEAST_VARIANCE = 1e-6
"""Of the largest: a direction with less is not blown up to unit variance."""


@dataclass(frozen=True)
class Frame:
    """An affine change of a token's channels, and the way back: (x - mean) @ forward.

    Attributes:
        mean: (C,).
        forward, backward: (C, C), inverse to each other.
    """

    mean: Tensor
    forward: Tensor
    backward: Tensor

    def enter(self, latents: Tensor) -> Tensor:
        """Plain latents (..., C) as the network sees them."""
        return (latents - self.mean) @ self.forward

    def leave(self, latents: Tensor) -> Tensor:
        """What the network made, as plain latents."""
        return latents @ self.backward + self.mean


@dataclass(frozen=True)
class LatentPool:
    """N scenes in half precision, and the empty caption's text.

    Attributes:
        latents: (N, 64, 32), scaled and packed.
        pooled, sequence: (N, 128), (N, 16, 128).
        empty_pooled, empty_sequence: of one row.
    """

    latents: Tensor
    pooled: Tensor
    sequence: Tensor
    empty_pooled: Tensor
    empty_sequence: Tensor

    def texts(self, rows: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled and sequence embeddings, those of the empty caption where `dropped`; float32."""
        pooled = torch.where(dropped[:, None], self.empty_pooled, self.pooled[rows])
        sequence = torch.where(dropped[:, None, None], self.empty_sequence, self.sequence[rows])
        return pooled.float(), sequence.float()

    @classmethod
    def read(cls, path: Path) -> LatentPool:
        """Map a pool that `build_pool` wrote."""
        return cls(**load_file(path))


def draw_scenes(count: int, seed: int, split: Split, kinds: Sequence[Kind]) -> list[Scene]:
    """The first `count` scenes of these kinds from an endless draw."""
    rng = random.Random(f"jlt-{split}-{seed}")
    return [scene_of(_draw(rng, split, kinds), rng) for _ in range(count)]


def unique_scenes(count: int, seed: int, split: Split, kinds: Sequence[Kind]) -> list[Scene]:
    """A scene each of the first `count` distinct combinations of these kinds."""
    rng = random.Random(f"jlt-unique-{split}-{seed}")
    found = distinct(lambda: _draw(rng, split, kinds), count)
    return [scene_of(attributes, rng) for attributes in found]


def _draw(rng: random.Random, split: Split, kinds: Sequence[Kind]) -> Attributes:
    while (attributes := sample_attributes(rng, split)).kind not in kinds:
        pass
    return attributes


def build_pool(frozen: Frozen, settings: LatentPoolSettings, path: Path) -> None:
    """Draw training scenes, encode pictures and captions, and write all in one file."""
    parts: dict[str, list[Tensor]] = {"latents": [], "pooled": [], "sequence": []}
    for start in range(0, settings.num_scenes, _CHUNK):
        count = min(_CHUNK, settings.num_scenes - start)
        scenes = draw_scenes(count, settings.seed + start, "train", settings.kinds)
        for place in range(0, count, settings.batch):
            part = scenes[place : place + settings.batch]
            pooled, sequence = frozen.texts([scene.caption for scene in part])
            latents = frozen.latents([scene.image for scene in part])
            for name, tensor in (("latents", latents), ("pooled", pooled), ("sequence", sequence)):
                parts[name].append(tensor.half())
    empty_pooled, empty_sequence = (tensor.half() for tensor in frozen.texts([""]))
    whole = {name: torch.cat(tensors) for name, tensors in parts.items()}
    whole |= {"empty_pooled": empty_pooled, "empty_sequence": empty_sequence}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in whole.items()}, partial)
    partial.rename(path)


def frame_of(latents: Tensor, kind: Latents) -> Frame:
    """The channels as they are, or rotated and scaled so that tokens have covariance I.

    Args:
        latents: (N, S, C).
    """
    channels = latents.shape[-1]
    if kind == "plain":
        return Frame(torch.zeros(channels), torch.eye(channels), torch.eye(channels))
    mean, covariance = _moments(latents.flatten(0, 1))
    values, vectors = torch.linalg.eigh(covariance)
    deviations = values.clamp(min=_LEAST_VARIANCE * float(values.max())).sqrt()
    forward, backward = vectors / deviations, (vectors * deviations).T
    return Frame(mean.float(), forward.float(), backward.float())


def spectrum(vectors: Tensor) -> dict[str, Any]:
    """Eigenvalues of the covariance of rows (N, D), falling, and the effective rank exp(entropy)."""
    values = torch.linalg.eigvalsh(_moments(vectors)[1]).flip(0).clamp(min=0)
    shares = values / values.sum()
    entropy = -(shares * shares.clamp(min=1e-300).log()).sum()
    return {"eigenvalues": values.tolist(), "effective_rank": float(entropy.exp()), "dimensions": len(values)}


def _moments(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of rows, float64."""
    rows = vectors.double()
    mean = rows.mean(0)
    return mean, (rows - mean).T @ (rows - mean) / len(rows)
