"""What a student learns from: clips as whitened latents, captions as the text encoder gives them."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from workers.training.video.pool import ClipPool, tokenise
from workers.training.video.wan_tiny import encode_text

EMPTY_FILE = "empty.safetensors"
"""The empty prompt's embeddings, beside the shards."""


class Source(Protocol):
    """Rows of latents and text; reading changes nothing and needs no gradient."""

    def __len__(self) -> int: ...

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, F, h, w)."""
        ...

    @property
    def num_slices(self) -> int:
        """F, the time slices of a clip."""
        ...

    def latents(self, rows: Tensor) -> Tensor:
        """(B, C, F, h, w), whitened, float32."""
        ...

    def text(self, rows: Tensor) -> Tensor:
        """(B, T, D) prompt embeddings, float32."""
        ...

    @property
    def empty(self) -> Tensor:
        """(1, T, D) of the empty prompt."""
        ...


class ClipSource:
    """Encoded sprites, their captions going through the teacher's text encoder when they are asked for.

    Args:
        pool: the clips.
        pipeline: the teacher's; its text encoder and tokenizer are used.
    """

    def __init__(self, pool: ClipPool, pipeline: Any) -> None:
        self.pool, self._pipeline = pool, pipeline

    def __len__(self) -> int:
        return len(self.pool.latents)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return tuple(self.pool.latents.shape[1:])

    @property
    def num_slices(self) -> int:
        return self.latent_shape[1]

    def latents(self, rows: Tensor) -> Tensor:
        return self.pool.whitened(rows)

    def text(self, rows: Tensor) -> Tensor:
        return self._encode(self.pool.ids[rows])

    @cached_property
    def empty(self) -> Tensor:
        return self._encode(tokenise([""], self._pipeline.tokenizer))

    @torch.no_grad()
    def _encode(self, ids: Tensor) -> Tensor:
        return encode_text(self._pipeline, ids.to(self._pipeline.text_encoder.device)).float().cpu()


class ShardSource:
    """A folder that `precompute` wrote: `shard-*.safetensors`, each of `latents` and `prompt_embeds` rows.

    Only the rows asked for are read.

    Raises:
        ValueError: no shards, or no `empty.safetensors` beside them.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob("shard-*.safetensors"))
        if not self._paths or not (folder / EMPTY_FILE).exists():
            raise ValueError(f"{folder} must hold shard-*.safetensors and {EMPTY_FILE}")
        shapes = [_shape_of(path) for path in self._paths]
        self._latent_shape = tuple(shapes[0][1:])
        self._ends = list(accumulate(shape[0] for shape in shapes))
        self.empty = load_file(folder / EMPTY_FILE)["prompt_embeds"].float()

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self._latent_shape

    @property
    def num_slices(self) -> int:
        return self._latent_shape[1]

    def latents(self, rows: Tensor) -> Tensor:
        return self._read(rows, "latents")

    def text(self, rows: Tensor) -> Tensor:
        return self._read(rows, "prompt_embeds")

    def _read(self, rows: Tensor, name: str) -> Tensor:
        found = []
        for row in rows.tolist():
            shard = bisect_right(self._ends, row)
            place = row - (self._ends[shard - 1] if shard else 0)
            with safe_open(self._paths[shard], framework="pt") as file:
                found.append(file.get_slice(name)[place])
        return torch.stack(found).float()


def _shape_of(path: Path) -> list[int]:
    """(n, C, F, h, w) of a shard."""
    with safe_open(path, framework="pt") as file:
        shape: list[int] = file.get_slice("latents").get_shape()
    return shape
