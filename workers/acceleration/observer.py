"""SoftCap's Trajectory Drift Observer: four cheap cues of how far a row is from its anchor, one risk.

Source: Zhang et al. 2026 (SoftCap, arXiv:2605.27075), eqs. 5 to 12. The paper does not print eps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from workers.core import ALONE, Ranks


class Cues(NamedTuple):
    """A number for each cue: the statistics f themselves, their scales c, or their weights w."""

    magnitude: float
    """f_mag: L1 distance to the anchor as a share of the present state's L1 norm"""
    direction: float
    """f_dir: 1 - cosine to the anchor"""
    distance: float
    """f_anc: steps since the anchor as a share of the longest allowed"""
    volatility: float
    """f_vol: root mean square of the features' change a step, in their own units"""


PAPER_SCALES = Cues(0.5, 0.08, 0.5, 4.0)
"""Fitted to the hidden states of FLUX.1-dev; elsewhere volatility at least needs a scale of its own."""
PAPER_WEIGHTS = Cues(0.45, 0.25, 0.15, 0.15)


@dataclass(frozen=True, slots=True)
class View:
    """What is compared for one row: the input of the monitored layer, (1, S, D).

    Args:
        now: at this step, evaluated or forecast.
        anchor: at the last full evaluation.
        difference: its first backward difference there, a step; None while there is one anchor only.
    """

    now: Tensor
    anchor: Tensor
    difference: Tensor | None


class Measured(NamedTuple):
    """A view's reductions in float32: sums of |now - anchor|, |now|, now * anchor, now^2, anchor^2, and the
    mean of difference^2."""

    moved: float
    size: float
    product: float
    now_square: float
    anchor_square: float
    change_square: float


def measure(views: Sequence[View], ranks: Ranks = ALONE) -> list[Measured]:
    """Reduce the views over all ranks' tokens, with one host sync for all of them.

    A row at a time: how a reduction over a batch adds up may depend on how many rows there are.
    """
    if not views:
        return []
    totals = ranks.total(torch.stack([_reduce(view) for view in views]))
    numbers: list[list[float]] = torch.cat([totals[:, :-2], totals[:, -2:-1] / totals[:, -1:]], 1).tolist()
    return [Measured(*row) for row in numbers]


def _reduce(view: View) -> Tensor:
    """The sums, then how many numbers the last one is of."""
    now, anchor = view.now.to(torch.float32), view.anchor.to(torch.float32)
    change = now.new_zeros(()) if view.difference is None else view.difference.to(torch.float32)
    return torch.stack(
        [
            (now - anchor).abs_().sum(),
            now.abs().sum(),
            (now * anchor).sum(),
            (now * now).sum(),
            (anchor * anchor).sum(),
            (change * change).sum(),
            now.new_tensor(change.numel()),
        ]
    )


def cues(measured: Measured, skipped: int, max_skip: int, eps: float) -> Cues:
    """The four statistics (eqs. 5 to 8).

    Args:
        measured: of the row.
        skipped: steps since the anchor.
        max_skip: the longest allowed, at least 1.
        eps: keeps a vanishing state from dividing by 0.
    """
    norms = math.sqrt(measured.now_square) * math.sqrt(measured.anchor_square)
    return Cues(
        magnitude=measured.moved / (measured.size + eps),
        direction=1.0 - measured.product / (norms + eps),
        distance=min(skipped / max_skip, 1.0),
        volatility=math.sqrt(measured.change_square),
    )


def base_risk(found: Cues, scales: Cues, weights: Cues) -> float:
    """s_base (eqs. 9 and 10): the weighted sum of the cues, each clipped to [0, 1] of its scale.

    In [0, 1] for weights that add up to 1. What is not a number counts as the largest risk.
    """
    shares = [_clip(value / scale) for value, scale in zip(found, scales, strict=True)]
    return _clip(sum(weight * share for weight, share in zip(weights, shares, strict=True)))


def risk(base: float, base_before: float, gamma: float) -> float:
    """s_t (eqs. 11 and 12): the base score and `gamma` times its rise since the step before, in [0, 1]."""
    return _clip(base + gamma * max(0.0, base - base_before))


def _clip(value: float) -> float:
    return 1.0 if math.isnan(value) else min(max(value, 0.0), 1.0)
