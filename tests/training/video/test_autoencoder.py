"""How the video autoencoder starts, and what its loss weighs."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

from workers.training.video.architecture import build_autoencoder
from workers.training.video.autoencoder import start_as_image_model, weighted_error


def test_a_frame_keeps_its_strength_through_every_volume() -> None:
    """A single frame meets 9 of 27 taps; drawn for 27, and by torch's rule, a third of it would be left."""
    torch.manual_seed(0)
    network = build_autoencoder()
    start_as_image_model(network)
    volumes = [each for each in network.modules() if isinstance(each, WanCausalConv3d)]
    volumes = [each for each in volumes if each.kernel_size == (3, 3, 3)]
    assert len(volumes) > 10
    for layer in volumes:
        frame = torch.randn(4, layer.in_channels, 1, 16, 16)
        inner = layer(frame)[..., 1:-1, 1:-1]
        assert 0.8 < float(inner.detach().std()) < 1.2


def test_a_frame_does_not_depend_on_earlier_ones_at_the_start() -> None:
    network = build_autoencoder()
    start_as_image_model(network)
    layer = network.decoder.conv_out
    clip = torch.randn(1, layer.in_channels, 3, 8, 8)
    assert torch.allclose(layer(clip)[:, :, 2:], layer(clip[:, :, 2:]), atol=1e-6)


def test_an_object_counts_more_than_what_is_behind_it() -> None:
    """One pixel in nine, wrong by 1 among others wrong by .1: (8 * .1 + 11 * 1) / (8 + 11)."""
    pixels = torch.zeros(1, 3, 1, 3, 3)
    pixels[..., 1, 1] = 0.5
    rebuilt = pixels + 0.1
    rebuilt[..., 1, 1] = 1.5
    assert float(weighted_error(rebuilt, pixels, 10.0)) == pytest.approx(11.8 / 19)
