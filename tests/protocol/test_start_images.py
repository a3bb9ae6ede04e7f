"""Images to start from: what is taken, how it is turned upright and RGB, and what is refused and why."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from protocol.errors import BodyTooLarge, InvalidRequest, RheostatError, UnsupportedMediaType
from protocol.start_images import (
    ImageLimits,
    inline_bytes,
    open_kept,
    path_behind,
    read_image,
    reference_to,
    to_png,
)

LIMITS = ImageLimits(max_bytes=100_000, max_pixels=64 * 64, min_side=16)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(mode: str = "RGB") -> Image.Image:
    """32 x 16: left red, right blue."""
    image = Image.new("RGB", (32, 16), RED)
    image.paste(BLUE, (16, 0, 32, 16))
    return image.convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_pixels_come_out_as_rgb(mode: str) -> None:
    """PNG has no CMYK, and JPEG is not exact."""
    more = {"kind": "JPEG", "quality": 100, "subsampling": 0} if mode == "CMYK" else {}
    image = read_image(saved(halves(mode), **more), LIMITS)
    assert (image.mode, image.size) == ("RGB", (32, 16))
    for place, colour in (((3, 8), RED), ((28, 8), BLUE)):
        pixel = image.getpixel(place)
        assert isinstance(pixel, tuple)
        assert all(abs(a - b) <= 3 for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_each_kind_is_turned_upright(kind: str) -> None:
    """Orientation 6 says: shown a quarter to the right, so what was left stands above."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(saved(halves(), kind, exif=exif), LIMITS)
    assert image.size == (16, 32)
    above, below = image.getpixel((8, 3)), image.getpixel((8, 28))
    assert isinstance(above, tuple)
    assert isinstance(below, tuple)
    assert above[0] > 200 > 50 > below[0]
    assert not image.getexif()


def test_what_is_kept_is_the_same_pixels_and_nothing_else() -> None:
    described = halves()
    described.info["comment"] = "where I live"
    kept = to_png(read_image(saved(described, "PNG"), LIMITS))
    assert kept == to_png(halves())
    assert open_kept(kept).tobytes() == halves().tobytes()


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (32, 16), colour) for colour in (RED, BLUE)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


NOISE = Image.effect_noise((64, 64), 80).convert("RGB")
REFUSED: dict[str, tuple[type[RheostatError], Callable[[], bytes]]] = {
    "nothing": (UnsupportedMediaType, lambda: b""),
    "text": (UnsupportedMediaType, lambda: b"an image of an apple"),
    "SVG": (
        UnsupportedMediaType,
        lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="32" height="32"/>',
    ),
    "GIF": (UnsupportedMediaType, lambda: saved(halves(), "GIF")),
    "BMP": (UnsupportedMediaType, lambda: saved(halves(), "BMP")),
    "a signature alone": (UnsupportedMediaType, lambda: b"\x89PNG\r\n\x1a\n"),
    "too many bytes": (BodyTooLarge, lambda: saved(NOISE) + bytes(100_000)),
    "too many pixels": (BodyTooLarge, lambda: saved(Image.new("RGB", (65, 64)))),
    "a header of 60,000 x 60,000": (BodyTooLarge, lambda: png_header(60_000, 60_000)),
    "a header that Pillow warns of": (BodyTooLarge, lambda: png_header(10_000, 10_000)),
    "1 x 1": (InvalidRequest, lambda: saved(Image.new("RGB", (1, 1)))),
    "a line": (InvalidRequest, lambda: saved(Image.new("RGB", (64, 15)))),
    "short of pixels": (InvalidRequest, lambda: png_header(32, 32)),
    "half a PNG": (InvalidRequest, lambda: saved(NOISE)[:5_000]),
    "half a JPEG": (InvalidRequest, lambda: saved(NOISE, "JPEG")[:1_500]),
    "animated PNG": (InvalidRequest, lambda: animated("PNG")),
    "animated WebP": (InvalidRequest, lambda: animated("WEBP")),
    "16 bits": (InvalidRequest, lambda: saved(Image.new("I;16", (32, 32)))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    kind, make = REFUSED[name]
    with pytest.raises(RheostatError) as caught:
        read_image(make(), LIMITS)
    assert type(caught.value) is kind
    assert caught.value.param == "input.image"


def test_half_a_webp_is_refused() -> None:
    """Whether it is seen by its header or its pixels is the library's business."""
    with pytest.raises((InvalidRequest, UnsupportedMediaType)):
        read_image(saved(NOISE, "WEBP", lossless=True)[:3_000], LIMITS)


def test_base64_and_data_urls() -> None:
    text = base64.b64encode(b"picture").decode()
    assert inline_bytes(text) == b"picture"
    assert inline_bytes(f"data:image/png;base64,{text}") == b"picture"
    for wrong in (
        "pic ture",
        "æ",
        "data:image/png,abc",
        "data:",
        f"data:;base64,{text}!",
        "stored:a/b-c.png",
    ):
        with pytest.raises(InvalidRequest) as caught:
            inline_bytes(wrong)
        assert caught.value.param == "input.image"


def test_references() -> None:
    assert path_behind(reference_to("public/job/given/a-b.png")) == "public/job/given/a-b.png"
    assert path_behind("aGk=") is None
