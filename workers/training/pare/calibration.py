"""What the teacher's heads do, watched by hooks while it denoises training clips.

Importance, equation 3: s = mean over clips of the sum over noise levels of log(1 + sigma) |v~| |W_O|, with v~
a head's attention-weighted values and W_O its slice of the output projection. Role, equation 4: the share of
a head's attention that stays in the query's own time slice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from math import log1p
from pathlib import Path
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from safetensors.torch import load_file, save_file
from torch import Tensor

from workers.training.pare.settings import CalibrationSettings
from workers.training.pare.sources import Source
from workers.training.resumable import step_seed

Sums = dict[str, Tensor]


@dataclass(frozen=True)
class Calibration:
    """What was measured, by block.

    Attributes:
        self_importance, cross_importance: (N, H).
        in_slice: (N, H) of self-attention, mean over clips, noise levels and queries; in [0, 1].
        in_slice_by_level: (L, N, H), low noise first.
        self_query, self_key, cross_query, cross_key: (N, D) mean squares of each channel before its norm.
        residual: (N,) mean of |B(x) - x| / |x|.
        slices: (1,), how many time slices the clips had.
    """

    self_importance: Tensor
    cross_importance: Tensor
    in_slice: Tensor
    in_slice_by_level: Tensor
    self_query: Tensor
    self_key: Tensor
    cross_query: Tensor
    cross_key: Tensor
    residual: Tensor
    slices: Tensor

    @property
    def num_slices(self) -> int:
        return int(self.slices)

    def save(self, path: Path) -> None:
        """In one rename."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(".partial")
        save_file({name: value.contiguous() for name, value in asdict(self).items()}, partial_path)
        partial_path.replace(path)

    @classmethod
    def load(cls, path: Path) -> Calibration:
        return cls(**load_file(path))


@torch.no_grad()
def calibrate(transformer: Any, source: Source, settings: CalibrationSettings, seed: int) -> Calibration:
    """Denoise `samples` clips at every noise level and measure; the same clips and noise for the same seed.

    Args:
        transformer: a WanTransformer3DModel of patches one frame deep.
        source: of clips and their text; as many are drawn as it has, if it has fewer.
    """
    generator = torch.Generator().manual_seed(step_seed("pare-calibration", seed))
    rows = torch.randperm(len(source), generator=generator)[: settings.samples]
    levels = []
    for level in range(settings.bins):
        sigma = (level + 0.5) / settings.bins
        sums: Sums = defaultdict(lambda: torch.zeros(()))
        with watching(transformer, sums, source.num_slices, settings.queries):
            for part in torch.split(rows, settings.batch):
                _denoise(transformer, source, part, sigma, generator)
        levels.append(_means(sums, len(rows), sigma))
    return _summary(levels, source.num_slices)


def _denoise(
    transformer: Any, source: Source, rows: Tensor, sigma: float, generator: torch.Generator
) -> None:
    clean, text = source.latents(rows), source.text(rows)
    noise = torch.randn(clean.shape, generator=generator)
    noisy = torch.lerp(clean, noise, sigma).to(transformer.device, transformer.dtype)
    timestep = torch.full((len(rows),), 1000 * sigma, device=noisy.device)
    transformer(
        hidden_states=noisy,
        timestep=timestep,
        encoder_hidden_states=text.to(noisy),
        return_dict=False,
    )


@contextmanager
def watching(transformer: Any, sums: Sums, num_slices: int, queries: int) -> Iterator[None]:
    """While it lasts, every forward adds what its blocks do, summed over rows, to `sums`."""
    handles = []
    for index, block in enumerate(transformer.blocks):
        note = partial(_add, sums, index, len(transformer.blocks))
        handles.append(block.register_forward_hook(partial(_see_block, note)))
        look = partial(_see_self_attention, note, num_slices, queries)
        handles.append(block.attn1.register_forward_pre_hook(look))
        for kind, attention in (("self", block.attn1), ("cross", block.attn2)):
            see_output = partial(_see_output, note, f"{kind}_importance", attention)
            handles.append(attention.to_out[0].register_forward_pre_hook(see_output))
            for name, norm in (("query", attention.norm_q), ("key", attention.norm_k)):
                handles.append(norm.register_forward_pre_hook(partial(_see_norm, note, f"{kind}_{name}")))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


Note = Callable[[str, Tensor], None]
"""Adds numbers of this block under a name."""


def _add(sums: Sums, index: int, count: int, name: str, value: Tensor) -> None:
    whole = torch.zeros(count, *value.shape, dtype=torch.float64)
    whole[index] = value.double().cpu()
    sums[name] = sums[name] + whole


def _see_block(note: Note, _module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
    before, after = args[0].float(), output.float()
    note("residual", ((after - before).norm(dim=(1, 2)) / before.norm(dim=(1, 2))).sum())


def _see_output(note: Note, name: str, attention: Any, _module: Any, args: tuple[Tensor, ...]) -> None:
    """|v~| |W_O| of every head; what enters the output projection is v~ of all heads side by side."""
    batch, tokens, _ = args[0].shape
    values = args[0].float().view(batch, tokens, attention.heads, -1)
    note(name, values.norm(dim=(1, 3)).sum(0) * output_norms(attention))


def output_norms(attention: Any) -> Tensor:
    """(H,): Frobenius norm of each head's slice of the output projection."""
    weight = attention.to_out[0].weight.detach().float()
    norms: Tensor = weight.view(len(weight), attention.heads, -1).norm(dim=(0, 2))
    return norms


def _see_norm(note: Note, name: str, _module: Any, args: tuple[Tensor, ...]) -> None:
    note(name, args[0].float().square().mean(1).sum(0))


def _see_self_attention(
    note: Note, num_slices: int, queries: int, attention: Any, args: tuple[Any, ...]
) -> None:
    """Work out queries and keys as the attention is about to, and where their attention goes."""
    hidden, _, _, rotary = args
    cos, sin = (table[0, :, 0] for table in rotary)
    query, key = (
        # `forward` alone, past the hooks: this is no use of the norm that counts.
        apply_rotary_emb(
            norm.forward(project(hidden)).unflatten(2, (attention.heads, -1)), (cos, sin), sequence_dim=1
        )
        for project, norm in ((attention.to_q, attention.norm_q), (attention.to_k, attention.norm_k))
    )
    note("in_slice", in_slice_mass(query, key, num_slices, queries).sum(0))


def in_slice_mass(query: Tensor, key: Tensor, num_slices: int, queries: int) -> Tensor:
    """The share of attention on tokens of the query's own time slice (equation 4).

    Args:
        query, key: (B, S, H, d), slices one after the other.
        queries: tokens looked at in each slice; a slice at a time, so that no more scores are held at once.

    Returns:
        (B, H), mean over those tokens.
    """
    tokens = query.shape[1] // num_slices
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(tokens, generator=generator)[:queries].to(query.device)
    total = torch.zeros(query.shape[0], query.shape[2], device=query.device)
    for start in range(0, num_slices * tokens, tokens):
        scores = torch.einsum("bqhd,bkhd->bhqk", query[:, start + chosen].float(), key.float())
        weights = torch.softmax(scores * query.shape[-1] ** -0.5, dim=-1)
        total += weights[..., start : start + tokens].sum(-1).mean(-1)
    return total / num_slices


def _means(sums: Sums, count: int, sigma: float) -> Sums:
    """Means over clips, importances weighed by log(1 + sigma)."""
    means = {name: value / count for name, value in sums.items()}
    for name in ("self_importance", "cross_importance"):
        means[name] = log1p(sigma) * means[name]
    return means


def _summary(levels: list[Sums], num_slices: int) -> Calibration:
    """Importances are summed over noise levels, all else is averaged."""
    stacked = {name: torch.stack([level[name] for level in levels]).float() for name in levels[0]}
    result = {
        name: value.sum(0) if name.endswith("importance") else value.mean(0)
        for name, value in stacked.items()
    }
    return Calibration(**result, in_slice_by_level=stacked["in_slice"], slices=torch.tensor([num_slices]))
