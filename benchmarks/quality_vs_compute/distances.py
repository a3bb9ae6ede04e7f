"""How far a picture is from its reference, pair by pair, and one set of pictures from another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_WINDOW, _SIGMA = 11, 1.5
_PEAK = 255.0


def latent_distance(latents: Sequence[Tensor], references: Sequence[Tensor]) -> Floats:
    """|a - b| / |b| over all elements of each pair, in float32; (n,).

    Args:
        latents, references: n tensors each, pairwise of one shape; no reference all zero.
    """
    pairs = zip(latents, references, strict=True)
    return np.array([float((a.float() - b.float()).norm() / b.float().norm()) for a, b in pairs])


def psnr(a: Pixels, b: Pixels) -> Floats:
    """10 log10(255² / mean squared error) of each pair, dB; infinite where the images are equal. (n,).

    Args:
        a, b: (n, height, width, 3), uint8.
    """
    difference = a.astype(np.float64) - b.astype(np.float64)
    error = (difference**2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        decibels: Floats = 10 * np.log10(_PEAK**2 / error)
    return decibels


def ssim(a: Pixels, b: Pixels) -> Floats:
    """Structural similarity of each pair, mean over places and colours, at most 1; (n,).

    Args:
        a, b: (n, height, width, 3), uint8, sides at least 11.

    Source: Wang et al. 2004, equation 13, K = (.01, .03), 11 x 11 Gaussian of sigma 1.5, only places where
    the whole window lies in the image.
    """
    pairs = zip(a, b, strict=True)
    return np.array([_ssim_of_pair(one.astype(np.float64), other.astype(np.float64)) for one, other in pairs])


def _ssim_of_pair(a: Floats, b: Floats) -> float:
    steady, moving = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a, variance_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + steady) / (mean_a**2 + mean_b**2 + steady)
    structure = (2 * covariance + moving) / (variance_a + variance_b + moving)
    return float((light * structure).mean())


def _blur(image: Floats) -> Floats:
    """Gaussian means over the first two axes, at whole windows only."""
    away = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(away**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    rows: Floats = sliding_window_view(image, _WINDOW, axis=0) @ weights
    blurred: Floats = sliding_window_view(rows, _WINDOW, axis=1) @ weights
    return blurred


class KernelDistance(NamedTuple):
    """Mean over blocks, and the standard deviation between blocks (not of the mean)."""

    mean: float
    spread: float


def kernel_inception_distance(
    a: NDArray[Any], b: NDArray[Any], *, blocks: int = 100, block_size: int = 200, seed: int = 0
) -> KernelDistance:
    """Unbiased MMD² between two sets of features under a cubic kernel; about 0 for equal distributions.

    Args:
        a, b: (n, d), (m, d) features.
        blocks: random subsets to average over, each without repeats.
        block_size: rows of each set in a block; no more than the smaller set has.
        seed: of the subsets.

    Raises:
        ValueError: a block of fewer than two rows.

    Source: Bińkowski et al. 2018, section 4 (KID), there on Inception features.
    """
    size = min(block_size, len(a), len(b))
    if size < 2:
        raise ValueError(f"a block of {size} rows has no unbiased estimate; needs at least 2")
    rng = np.random.default_rng(seed)
    one, other = a.astype(np.float64), b.astype(np.float64)
    values = [
        squared_mmd(one[rng.choice(len(a), size, False)], other[rng.choice(len(b), size, False)])
        for _ in range(blocks)
    ]
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


def squared_mmd(a: Floats, b: Floats) -> float:
    """Unbiased squared maximum mean discrepancy, k(x, y) = (x . y / d + 1)³.

    Args:
        a, b: (n, d) each, the same n of at least 2.

    Source: Gretton et al. 2012, equation 3.
    """
    count = len(a)
    within_a, within_b, between = _cubic(a, a), _cubic(b, b), _cubic(a, b)
    pairs = count * (count - 1)
    same = (within_a.sum() - np.trace(within_a) + within_b.sum() - np.trace(within_b)) / pairs
    return float(same - 2 * between.mean())


def _cubic(a: Floats, b: Floats) -> Floats:
    kernel: Floats = (a @ b.T / a.shape[1] + 1) ** 3
    return kernel
