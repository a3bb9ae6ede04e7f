"""Whitened tokens have covariance I and come back; the spectrum's effective rank is worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from workers.training.jlt.latents import LatentPool, draw_scenes, frame_of, spectrum, unique_scenes


def test_whitened_tokens_have_unit_covariance_and_come_back(pool: LatentPool) -> None:
    latents = pool.latents.float()
    frame = frame_of(latents, "whitened")
    seen = frame.enter(latents)
    covariance = torch.cov(seen.flatten(0, 1).T, correction=0)
    torch.testing.assert_close(covariance, torch.eye(32), rtol=0, atol=1e-3)
    torch.testing.assert_close(frame.leave(seen), latents, rtol=0, atol=1e-4)


def test_plain_is_plain(pool: LatentPool) -> None:
    latents = pool.latents.float()
    frame = frame_of(latents, "plain")
    assert torch.equal(frame.enter(latents), latents)
    assert torch.equal(frame.leave(latents), latents)


def test_the_spectrum_by_hand() -> None:
    """Variances 4 and 1 about (3, -3): shares .8 and .2, entropy -(.8 ln .8 + .2 ln .2)."""
    rows = torch.tensor([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]]) + torch.tensor([3.0, -3.0])
    found = spectrum(rows)
    assert found["eigenvalues"] == pytest.approx([4, 1])
    assert found["effective_rank"] == pytest.approx(math.exp(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2))))
    assert found["dimensions"] == 2


def test_scenes_are_of_the_kinds_asked_for() -> None:
    assert {scene.attributes.kind for scene in draw_scenes(20, 0, "train", ("single", "two"))} == {
        "single",
        "two",
    }
    held = unique_scenes(20, 0, "heldout", ("single",))
    assert len({scene.attributes.key for scene in held}) == 20
