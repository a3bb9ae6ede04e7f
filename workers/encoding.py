"""From a finished sample to the bytes that are stored."""

from __future__ import annotations

import io

from PIL.Image import Image

IMAGE_TYPE = "image/png"
_COMPRESSION = 6
"""zlib's own default, fixed so that the same picture stays the same file whatever Pillow's becomes."""


def encode_png(image: Image) -> bytes:
    """The picture as PNG, without any metadata: equal pixels give equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()
