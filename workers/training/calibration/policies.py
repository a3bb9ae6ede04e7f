"""Which fitted path a prompt's risk leads to, so that the mean is the grant and the rest strays least."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_QUANTILES = tuple(place / 20 for place in range(1, 20))
_MAX_PATHS = 3
_REACH = 2
"""Anchors below and above the grant that a run may have: soft mode's allowance pays two more of 28."""
_TOLERANCE = 1e-6
_RUINED = 0.15
"""A run that turned into another picture counts as this: how far it turned says nothing about its path."""


@dataclass(frozen=True)
class Policy:
    """Paths by their number of anchors, rising, and the risks at which the next one begins.

    Attributes:
        spent: mean number of anchors on the prompts.
        error: root mean square of the relative L2 there, each at most `_RUINED`.
    """

    counts: tuple[int, ...]
    thresholds: tuple[float, ...]
    spent: float
    error: float


def best_policy(errors: Mapping[int, Tensor], risk: Tensor, wanted: int, allowance: float) -> Policy:
    """Of all choices of paths and thresholds that cost at most `wanted` in the mean, the one straying least.

    Args:
        errors: number of anchors -> relative L2 of each prompt on that path (B,).
        risk: (B,).
        wanted: the grant, in full evaluations.
        allowance: what a single run may have above it.

    Raises:
        ValueError: no path is that short.
    """
    rising = sorted(errors)
    usable = [count for count in rising if wanted - _REACH <= count <= wanted + min(allowance, _REACH)]
    usable = usable or [count for count in rising if count <= wanted][-1:]
    found = [
        policy
        for size in range(1, _MAX_PATHS + 1)
        for counts in itertools.combinations(usable, size)
        for policy in _policies(errors, risk, counts)
        if policy.spent <= wanted + _TOLERANCE
    ]
    if not found:
        raise ValueError(f"no path of at most {wanted} anchors; there are {rising}")
    return min(found, key=lambda policy: policy.error)


def pays(spent: float, distance: float, single: Sequence[tuple[float, float]]) -> bool:
    """Whether a policy strays less than single paths would, set between those around what it spends.

    Args:
        spent, distance: the policy's, means.
        single: (spent, distance) of single paths, rising.
    """
    places, distances = zip(*single, strict=True)
    return distance < float(np.interp(spent, places, distances))


def _policies(errors: Mapping[int, Tensor], risk: Tensor, counts: Sequence[int]) -> list[Policy]:
    """These paths under every choice of quantiles as thresholds."""
    table = torch.stack([errors[count] for count in counts], 1).double().clamp(max=_RUINED)
    sizes = torch.tensor(counts, dtype=torch.float64)
    levels = torch.quantile(risk, torch.tensor(_QUANTILES, dtype=risk.dtype)).tolist()
    policies = []
    for thresholds in itertools.combinations(levels, len(counts) - 1):
        taken = torch.bucketize(risk, torch.tensor(thresholds, dtype=risk.dtype), right=True)
        error = float(table.gather(1, taken[:, None]).square().mean().sqrt())
        policies.append(Policy(tuple(counts), thresholds, float(sizes[taken].mean()), error))
    return policies
