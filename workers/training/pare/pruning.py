"""Which heads and neurons stay (equations 4 to 7)."""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import Tensor

from workers.models.pare import KeptBlock
from workers.training.pare.calibration import Calibration, output_norms
from workers.training.pare.settings import PruningSettings

_LEAST_HEAD_SHARE = 0.2
_FINE, _COARSE, _WIDE = 32, 128, 4096
"""Feed-forwards are multiples of 32 below 4096 neurons, of 128 from there on."""
_SLACK = 1e-9
"""0.7 of 10 is 7, whatever the last bit says."""


def evenness_removed(in_slice: Tensor, num_slices: int) -> Tensor:
    """r' = (r - 1/F) / (1 - 1/F): 0 for attention spread evenly over F slices, 1 for attention within one.

    With one slice there is no time to attend across: NaN, which is above and below nothing.
    """
    if num_slices == 1:
        return torch.full_like(in_slice, float("nan"))
    return (in_slice - 1 / num_slices) / (1 - 1 / num_slices)


def protected(importance: Tensor, in_slice: Tensor, num_slices: int, settings: PruningSettings) -> Tensor:
    """Scores with those of temporal heads raised (equation 5)."""
    temporal = evenness_removed(in_slice, num_slices) < settings.temporal_below
    return torch.where(temporal, settings.protection * importance, importance)


def kept_heads(count: int, share: float) -> int:
    """The number kept: the share, rounded up, and a fifth at least (8 of 40)."""
    return max(ceil(_LEAST_HEAD_SHARE * count - _SLACK), ceil(share * count - _SLACK))


def kept_neurons(count: int, share: float) -> int:
    """The multiple that is nearest to the share: 9,728 of 13,824 and 320 of 448 at .7."""
    multiple = _FINE if count < _WIDE else _COARSE
    return min(count, multiple * max(1, round(share * count / multiple)))


def best(scores: Tensor, count: int) -> tuple[int, ...]:
    """The places of the highest scores (n,), rising; of equal ones the earlier."""
    order = scores.argsort(descending=True, stable=True)[:count]
    return tuple(sorted(order.tolist()))


def diverse(up: Tensor, down: Tensor, count: int, start: float, step: float) -> tuple[int, ...]:
    """Neurons by falling importance, none too similar to one kept before it (equations 6 and 7).

    Args:
        up, down: (n, d) and (d, n), the feed-forward's two matrices.
        count: how many to keep.
        start, step: a cosine similarity above `start` passes a neuron over; raised by `step` until enough are
            kept, and from 1 on nobody is passed over.

    Returns:
        Their places, rising.
    """
    importance = up.norm(dim=1) * down.norm(dim=0)
    signature = torch.nn.functional.normalize(torch.cat([up, down.T], dim=1))
    similarity = signature @ signature.T
    order = importance.argsort(descending=True, stable=True).tolist()
    kept: list[int] = []
    limit = start
    while len(kept) < count:
        _visit(order, kept, similarity, limit if limit < 1 - _SLACK else float("inf"), count)
        limit += step
    return tuple(sorted(kept))


def _visit(order: list[int], kept: list[int], similarity: Tensor, limit: float, count: int) -> None:
    """One pass over the neurons that are not kept yet, which adds to `kept`."""
    taken = set(kept)
    barred = (similarity[kept] > limit).any(dim=0) if kept else torch.zeros(len(order), dtype=torch.bool)
    for neuron in order:
        if len(kept) == count:
            return
        if neuron not in taken and not barred[neuron]:
            kept.append(neuron)
            barred |= similarity[neuron] > limit


def select(transformer: Any, found: Calibration | None, settings: PruningSettings) -> tuple[KeptBlock, ...]:
    """What stays of every block of a WanTransformer3DModel.

    Args:
        found: what was measured; not needed when magnitudes decide.
    """
    if settings.scores == "magnitude":
        own, cross = (magnitudes(transformer, name) for name in ("attn1", "attn2"))
    else:
        assert found is not None, "importances are measured"
        own = protected(found.self_importance, found.in_slice, found.num_slices, settings)
        cross = found.cross_importance
    heads = kept_heads(own.shape[1], settings.kept_share)
    neurons = kept_neurons(transformer.config.ffn_dim, settings.kept_share)
    return tuple(
        KeptBlock(
            self_heads=best(own[index], heads),
            cross_heads=best(cross[index], heads),
            neurons=diverse(
                block.ffn.net[0].proj.weight.detach().float(),
                block.ffn.net[2].weight.detach().float(),
                neurons,
                settings.similarity,
                settings.similarity_step,
            ),
        )
        for index, block in enumerate(transformer.blocks)
    )


def magnitudes(transformer: Any, name: str) -> Tensor:
    """(N, H): norm of a head's value matrix times norm of its output matrix, no data needed."""
    rows = []
    for block in transformer.blocks:
        attention = block.get_submodule(name)
        value = attention.to_v.weight.detach().float()
        by_head = value.view(attention.heads, -1, value.shape[1])
        rows.append(by_head.norm(dim=(1, 2)) * output_norms(attention))
    return torch.stack(rows)
