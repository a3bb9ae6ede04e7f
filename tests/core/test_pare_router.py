"""The router: its numbers by hand, and a row that is the same alone and in company."""

from __future__ import annotations

from math import cos, sin

import pytest
import torch

from workers.core.pare_router import DepthRouter, content_features, depth, time_features, top_blocks

BIAS = torch.tensor([0.1, -0.2, 0.3, 0.0, -1.0])


def trained_router(*, channels: int = 4, text_channels: int = 0) -> DepthRouter:
    """A router whose last layer is not zero."""
    torch.manual_seed(3)
    router = DepthRouter(BIAS, channels, text_channels)
    torch.nn.init.normal_(router.layers[-1].weight)
    return router.eval()


def latents(rows: int) -> torch.Tensor:
    return torch.randn(rows, 4, 5, 8, 8, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize(
    ("sigma", "blocks"),
    # 40 blocks, 20 to 35, equation 8: 20 + 15 sigma. 27.5 rounds to 28, 20.5 to 21, 21.5 to 22 (not to 22 and
    # 20 as halves to even would).
    [(0.0, 20), (1.0, 35), (0.5, 28), (1 / 30, 21), (0.1, 22), (0.03, 20), (0.9, 34)],
)
def test_the_depth_follows_the_noise_and_rounds_halves_up(sigma: float, blocks: int) -> None:
    assert depth(sigma, 20, 35) == blocks


def test_wan_tiny_s_depths() -> None:
    """.4 and .85 of 10 blocks: 4 + 4.5 sigma, so 8.5 at pure noise is 9."""
    assert [depth(sigma / 10, 4, 8.5) for sigma in range(11)] == [4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9]


def test_first_and_last_run_and_count() -> None:
    logits = torch.tensor([[-9.0, 3.0, 1.0, 2.0, -9.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    on = lambda mask: [row.nonzero().flatten().tolist() for row in mask]  # noqa: E731
    assert on(top_blocks(logits, 3)) == [[0, 1, 4], [0, 1, 4]]
    assert on(top_blocks(logits, [4, 2])) == [[0, 1, 3, 4], [0, 4]]
    assert on(top_blocks(logits, [1, 9])) == [[0, 4], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize("k", range(2, 11))
def test_exactly_k_blocks_run(k: int) -> None:
    logits = torch.randn(7, 10, generator=torch.Generator().manual_seed(k))
    mask = top_blocks(logits, k)
    assert mask.sum(1).tolist() == [k] * 7
    assert mask[:, [0, -1]].all()


def test_it_starts_as_its_bias() -> None:
    router = DepthRouter(BIAS, 4)
    assert torch.equal(router(torch.tensor([900.0, 20.0]), latents(2)), BIAS.expand(2, -1))


def test_content_by_hand() -> None:
    """One channel over two slices of one cell, 1 and 4: mean 2.5, deviation 1.5, change 3.

    Their mean is 7 / 3, their variance 7 / 18.
    """
    clip = torch.tensor([1.0, 4.0]).view(1, 1, 2, 1, 1)
    wanted = (torch.tensor([[2.5, 1.5, 3.0]]) - 7 / 3) / (7 / 18 + 1e-5) ** 0.5
    assert torch.allclose(content_features(clip), wanted, atol=1e-6)
    assert content_features(clip[:, :, :1]).isfinite().all()


def test_time_by_hand() -> None:
    features = time_features(torch.tensor([2.0]))[0]
    assert features.shape == (256,)
    assert features[0] == pytest.approx(cos(2.0))
    assert features[128] == pytest.approx(sin(2.0))
    assert features[64] == pytest.approx(cos(2.0 / 100))  # 10,000 to the power of 64 / 128


@pytest.mark.parametrize("rows", [2, 3, 5, 8])
def test_a_row_is_the_same_alone_and_in_company(rows: int) -> None:
    router, noisy = trained_router(), latents(rows)
    timestep = torch.linspace(999, 1, rows)
    together = router(timestep, noisy)
    for row in range(rows):
        here = slice(row, row + 1)
        assert torch.equal(router(timestep[here], noisy[here]), together[here])


def test_time_alone_sees_no_latents_and_content_does() -> None:
    timestep = torch.tensor([500.0, 500.0])
    blind, seeing = (trained_router(channels=channels)(timestep, latents(2)) for channels in (0, 4))
    assert torch.equal(blind[0], blind[1])
    assert not torch.allclose(seeing[0], seeing[1], atol=1e-3)


def test_text_is_an_option_that_must_be_given() -> None:
    router = trained_router(text_channels=6)
    timestep, text = torch.tensor([500.0]), torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    first, second = (router(timestep, latents(1), row[None]) for row in text)
    assert not torch.allclose(first, second, atol=1e-3)
    with pytest.raises(ValueError, match="text vector of 6"):
        router(timestep, latents(1))
