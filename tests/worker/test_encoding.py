"""Equal pixels are equal bytes."""

from __future__ import annotations

import io

from PIL import Image

from workers.encoding import encode_png


def gradient() -> Image.Image:
    return Image.frombytes("RGB", (64, 48), bytes(value % 251 for value in range(64 * 48 * 3)))


def test_the_same_picture_is_the_same_file() -> None:
    assert encode_png(gradient()) == encode_png(gradient())


def test_nothing_is_lost_and_nothing_is_added() -> None:
    image = gradient()
    image.info["comment"] = "made by nobody"
    read = Image.open(io.BytesIO(encode_png(image)))
    assert (read.size, read.mode, read.tobytes()) == (image.size, "RGB", image.tobytes())
    assert "comment" not in read.info
