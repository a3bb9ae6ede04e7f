"""The image a request starts from: as callers write it, as a job carries it, and as pixels.

A caller writes base64, a data URL or an artifact's URL. The gateway reads the pixels once, here, keeps them
as a PNG beside the job's results and puts a reference in their place: jobs in Redis stay small, and a worker
opens no file that a caller wrote. An engine without a gateway reads base64 and data URLs itself.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Annotated

from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from protocol.errors import BodyTooLarge, InvalidRequest, RheostatError, UnsupportedMediaType

PARAM = "input.image"
MEDIA_TYPE = "image/png"
"""In which images are kept."""

_ACCEPTED = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_REFERENCE = "stored:"
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class ImageLimits(BaseModel):
    """What is taken. `max_bytes` is of the file, `max_pixels` of what it unfolds to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: Annotated[int, Field(ge=1)] = 8 * 2**20
    max_pixels: Annotated[int, Field(ge=1)] = 2**24
    min_side: Annotated[int, Field(ge=1)] = 16


def inline_bytes(text: str, param: str = PARAM) -> bytes:
    """The file that base64 or a base64 data URL spells.

    Args:
        text: as the caller wrote it.
        param: the field it stood in.

    Raises:
        InvalidRequest: it is neither.
    """
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise _refused("a data URL must be base64", param=param)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        others = ", or the URL of an artifact of this server" if param == PARAM else ""
        raise _refused(f"must be base64 or a data URL{others}", param=param) from None


def read_image(data: bytes, limits: ImageLimits) -> Image.Image:
    """The file's pixels: upright, RGB, without metadata. Transparency is dropped, colour profiles too.

    Sizes are looked at before anything is unfolded.

    Raises:
        BodyTooLarge: more bytes or pixels than `limits` allow.
        UnsupportedMediaType: neither PNG, JPEG nor WebP.
        InvalidRequest: broken, animated, too small, or of more than 8 bits a channel.
    """
    if len(data) > limits.max_bytes:
        raise _too_large("max_bytes", limits.max_bytes)
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_ACCEPTED)) as image:
            _check(image, limits)
            return ImageOps.exif_transpose(image).convert("RGB")
    except RheostatError:
        raise
    except UnidentifiedImageError:
        raise _unknown() from None
    except _BOMBS:
        raise _too_large("max_pixels", limits.max_pixels) from None
    except Exception:  # broken files make Pillow raise whatever it stumbles over
        raise _refused("the image is broken or cut short") from None


def to_png(image: Image.Image) -> bytes:
    """The pixels as they are kept: quickly packed, equal pixels in equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def open_kept(data: bytes) -> Image.Image:
    """Inverse of `to_png`."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.load()
        return image


def reference_to(path: str) -> str:
    """What stands in a job's request for the image kept at `path` of the artifact store.

    No caller can write one: it is no base64.
    """
    return _REFERENCE + path


def path_behind(text: str) -> str | None:
    """Inverse of `reference_to`; None for everything else."""
    return text.removeprefix(_REFERENCE) if text.startswith(_REFERENCE) else None


def _check(image: Image.Image, limits: ImageLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise _too_large("max_pixels", limits.max_pixels)
    if min(width, height) < limits.min_side:
        raise _refused(f"the image's sides must be at least {limits.min_side} pixels", limits.min_side)
    # A JPEG of several pictures is a camera's, with its previews behind it.
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise _refused("the image must not be animated")
    if image.mode not in _EIGHT_BITS:
        raise _refused("the image must have 8 bits a channel")


def _unknown() -> UnsupportedMediaType:
    allowed: list[JsonValue] = [*_ACCEPTED.values()]
    message = f"the image must be one of {', '.join(_ACCEPTED.values())}"
    return UnsupportedMediaType(message, param=PARAM, details={"allowed": allowed})


def _refused(message: str, min_side: int | None = None, param: str = PARAM) -> InvalidRequest:
    return InvalidRequest(
        message, param=param, details={} if min_side is None else {"allowed": {"min_side": min_side}}
    )


def _too_large(limit: str, most: int) -> BodyTooLarge:
    message = f"the image is over {most} {limit.removeprefix('max_')}"
    return BodyTooLarge(message, param=PARAM, details={"allowed": {limit: most}})
