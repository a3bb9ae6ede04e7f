"""Distances worked by hand, and one figure of another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.quality_vs_compute.distances import (
    Pixels,
    kernel_inception_distance,
    latent_distance,
    psnr,
    squared_mmd,
    ssim,
)


def flat(value: int) -> Pixels:
    return np.full((1, 16, 16, 3), value, np.uint8)


def patterns() -> tuple[Pixels, Pixels]:
    """Two images anybody can make again."""
    y, x, colour = np.mgrid[0:64, 0:64, 0:3]
    ramp = 3 * x + 5 * y + 40 * colour
    return (ramp % 256).astype(np.uint8)[None], ((ramp + 7 * (x * y % 5)) % 256).astype(np.uint8)[None]


def test_latent_distance_is_relative_to_the_reference() -> None:
    """|(3, 4) - (0, 0)| = 5 over |(0, 10)| = 10; and the other way the reference is the shorter one."""
    long, off = torch.tensor([[0.0, 10.0]]), torch.tensor([[3.0, 14.0]])
    short, on = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 2.0]])
    assert latent_distance([off, on], [long, short]).tolist() == [0.5, 0.0]
    assert latent_distance([long], [torch.tensor([[0.0, 5.0]])]).tolist() == [1.0]


def test_latent_distance_needs_whole_pairs() -> None:
    with pytest.raises(ValueError):
        latent_distance([torch.ones(1)], [])


def test_psnr_of_a_constant_difference() -> None:
    """An error of 5 everywhere: 20 log10(255 / 5). Equal images have no error at all."""
    assert psnr(flat(100), flat(105)).tolist() == pytest.approx([20 * math.log10(51)])
    assert psnr(flat(7), flat(7)).tolist() == [math.inf]


def test_ssim_of_flat_images_is_the_light_term() -> None:
    """No structure: what is left of equation 13 is (2ab + c) / (a² + b² + c), c = (.01 x 255)²."""
    steady = 2.55**2
    expected = (2 * 100 * 200 + steady) / (100**2 + 200**2 + steady)
    assert ssim(flat(100), flat(200)).tolist() == pytest.approx([expected])


def test_ssim_and_psnr_agree_with_scikit_image() -> None:
    """scikit-image: gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255."""
    a, b = patterns()
    assert ssim(a, b).tolist() == pytest.approx([0.5467430742312985], abs=1e-9)
    assert psnr(a, b).tolist() == pytest.approx([14.194472560985783], abs=1e-9)
    assert ssim(a, a).tolist() == pytest.approx([1.0])


def test_squared_mmd_by_hand() -> None:
    """One feature, a = (0, 1), b = (1, 2), k(x, y) = (xy + 1)³.

    Within a: k(0, 1) = 1. Within b: k(1, 2) = 27. Between: 1, 1, 8, 27, mean 37/4. 1 + 27 - 37/2 = 9.5.
    """
    assert squared_mmd(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])) == pytest.approx(9.5)


def test_kernel_distance_is_about_zero_for_one_distribution_and_grows_with_a_shift() -> None:
    a, b = np.random.default_rng(5).normal(size=(2, 400, 8))
    same = kernel_inception_distance(a, b, blocks=50, block_size=100)
    shifted = kernel_inception_distance(a, b + 0.5, blocks=50, block_size=100)
    assert abs(same.mean) < same.spread
    assert shifted.mean > 4 * shifted.spread


def test_kernel_distance_is_seeded_and_fits_the_smaller_set() -> None:
    a = np.random.default_rng(6).normal(size=(30, 4))
    one = kernel_inception_distance(a, a[:10] + 1, blocks=5)
    assert one == kernel_inception_distance(a, a[:10] + 1, blocks=5)
    assert one != kernel_inception_distance(a, a[:10] + 1, blocks=5, seed=1)


def test_kernel_distance_of_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        kernel_inception_distance(np.ones((1, 3)), np.ones((9, 3)))
