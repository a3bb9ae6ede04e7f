"""The encoder that comes in a wheel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality_vs_compute.features import feature_distance, features


def square(colour: str, edge: int) -> Image.Image:
    image = Image.new("RGB", (64, 64), "white")
    image.paste(colour, (32 - edge, 32 - edge, 32 + edge, 32 + edge))
    return image


def test_distance_of_known_angles() -> None:
    """Same direction 0, right angle 1, opposite 2, whatever the lengths."""
    a = np.array([[2, 0], [1, 0], [3, 0]], np.float32)
    b = np.array([[5, 0], [0, 4], [-1, 0]], np.float32)
    assert feature_distance(a, b).tolist() == pytest.approx([0, 1, 2])


def test_features_are_per_image_and_tell_pictures_apart() -> None:
    """Seventeen images are two batches; an image's features do not depend on its company."""
    images = [square("red", 2 + index) for index in range(17)]
    found = features(images)
    assert found.shape == (17, 1280)
    assert np.allclose(features([images[16]])[0], found[16], atol=1e-4)
    near, far = feature_distance(found[[10, 10]], features([square("red", 13), square("blue", 30)]))
    assert near < far


def test_no_images_have_no_features() -> None:
    assert features([]).shape == (0, 1280)


def test_mode_and_size_are_brought_to_the_networks_own() -> None:
    """A grey image and its RGB copy are one picture."""
    grey = square("red", 9).convert("L").resize((40, 40))
    assert np.array_equal(features([grey]), features([grey.convert("RGB")]))
