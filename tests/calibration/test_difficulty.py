"""A prompt's risk from its embeddings."""

from __future__ import annotations

import torch

from workers.core import condition_features
from workers.training.calibration.difficulty import fit_difficulty, held_out_risk, risk_of


def prompts(count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of 8 channels; the log distance is twice the first plus noise."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, 8, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(count, generator=generator, dtype=torch.float64)
    return features, (2 * features[:, 0] + noise - 3).exp()


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


def test_it_finds_the_channel_that_matters() -> None:
    features, distance = prompts()
    difficulty = fit_difficulty(features, distance)
    weights = torch.tensor(difficulty.weights).abs()
    assert int(weights.argmax()) == 0
    assert float(weights[0]) > 10 * float(weights[1:].max())
    assert correlation(risk_of(difficulty, features), distance.log()) > 0.99


def test_held_out_risk_does_not_see_the_prompt_itself() -> None:
    """Where there is nothing to learn the fit to all follows the noise and the held-out one does not."""
    features, _ = prompts(64)
    distance = torch.rand(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    inside = risk_of(fit_difficulty(features, distance), features)
    assert correlation(inside, distance.log()) > 0.1
    assert correlation(held_out_risk(features, distance), distance.log()) < 0.1


def test_features_are_means_over_tokens() -> None:
    """Two tokens (1, 2) and (3, 6) average to (2, 4); a vector stays as it is."""
    tokens, pooled = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]), torch.tensor([[5.0]])
    assert condition_features((tokens, pooled)).tolist() == [[2.0, 4.0, 5.0]]
