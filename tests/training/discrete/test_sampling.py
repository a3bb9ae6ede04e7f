"""Euler's method on a law whose ratios are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from workers.training.discrete.sampling import euler, sample_in_parts
from workers.training.discrete.settings import SampleSettings
from workers.training.resumable import Deadline

LAW = torch.tensor([[0.6, 0.1, 0.3], [0.05, 0.9, 0.05]])
"""Two independent tokens of three values."""


class Exact:
    """Stands where a loaded model stands; its ratios are those of LAW."""

    vocabulary = SimpleNamespace(size=3)
    shapes = SimpleNamespace(length=2)
    sigma_max = 6.9

    def __init__(self) -> None:
        self.calls = 0

    def score(self, tokens: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        kept = torch.exp(-sigma)[:, None, None]
        marginal = kept * LAW + (1 - kept) / 3
        return marginal / marginal.gather(-1, tokens[..., None])


def test_samples_have_the_law_and_cost_what_was_said() -> None:
    """20,000 draws: 5 deviations of a share are .018; Euler's own error at 64 steps is below that."""
    model: Any = Exact()
    samples = euler(model, 20_000, 64, torch.Generator().manual_seed(0))
    shares = torch.nn.functional.one_hot(samples, 3).float().mean(0)
    assert (shares - LAW).abs().max() < 0.02
    assert model.calls == 64


def test_what_is_given_is_in_every_sample() -> None:
    model: Any = Exact()
    tokens = torch.tensor([[2, 0]]).expand(50, 2)
    given = torch.tensor([[True, False]]).expand(50, 2)
    samples = euler(model, 50, 1, torch.Generator().manual_seed(0), (given, tokens))
    assert (samples[:, 0] == 2).all()
    assert samples[:, 1].unique().numel() > 1


def test_parts_are_kept_and_go_on(tmp_path: Path) -> None:
    model: Any = Exact()
    settings = SampleSettings(num_samples=5, evaluations=4, batch=2)
    assert sample_in_parts(model, settings, tmp_path, Deadline(0.0)) is None
    whole = sample_in_parts(model, settings, tmp_path, Deadline())
    (tmp_path / "000002.npy").unlink()
    calls = model.calls
    again = sample_in_parts(model, settings, tmp_path, Deadline())
    assert whole is not None
    assert again is not None
    assert whole.shape == (5, 2)
    assert (whole == again).all()
    assert model.calls == calls + 4
