"""How hard a prompt is before anything has run: linear in its embeddings, fitted to how far runs strayed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.core import condition_features
from workers.training.calibration.probe import Probe

_RIDGE = 200.0
"""Of .61 to .51 over 10 to 1,000 the rank correlation hardly moves; more guards small sets of prompts."""
_FOLDS = 8
_LEAST = 1e-9


@dataclass(frozen=True)
class Difficulty:
    """risk = weights . features + offset, where features are `condition_features` of the prompt.

    Fitted so that exp(risk) is the expected distance on the path it was fitted on.
    """

    weights: tuple[float, ...]
    offset: float


def features_of(probe: Probe) -> Tensor:
    """(B, D), float64, of the conditional lane."""
    return condition_features([tensor[:, 0] for tensor in probe.conditions]).double()


def fit_difficulty(features: Tensor, distance: Tensor) -> Difficulty:
    """Ridge regression of log distance on standardised features.

    Args:
        features: (B, D).
        distance: (B,), relative L2 of the prompts' runs.
    """
    mean, scale = features.mean(0), features.std(0) + _LEAST
    target = distance.double().clamp(min=_LEAST).log()
    centred = (features - mean) / scale
    normal = centred.T @ centred + _RIDGE * torch.eye(centred.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(normal, centred.T @ (target - target.mean())) / scale
    return Difficulty(tuple(weights.tolist()), float(target.mean() - mean @ weights))


def risk_of(difficulty: Difficulty, features: Tensor) -> Tensor:
    """(B,)."""
    return features.double() @ torch.tensor(difficulty.weights, dtype=torch.float64) + difficulty.offset


def held_out_risk(features: Tensor, distance: Tensor) -> Tensor:
    """Each prompt's risk by a fit to the others, fold by fold: what thresholds may be chosen on."""
    folds = torch.arange(len(features)) % _FOLDS
    risk = torch.zeros(len(features), dtype=torch.float64)
    for fold in range(_FOLDS):
        inside = folds != fold
        risk[~inside] = risk_of(fit_difficulty(features[inside], distance[inside]), features[~inside])
    return risk
