"""From a clip's frames to the files that are stored: an MP4, its thumbnail, a sheet of its frames.

Frames are uint8 arrays (F, H, W, 3), RGB. With one version of the codecs the same frames are the same bytes.
"""

from __future__ import annotations

import io
import math
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]

VIDEO_TYPE = "video/mp4"
THUMBNAIL_TYPE = "image/webp"
SPRITESHEET_TYPE = "image/jpeg"
MAX_TILES = 16
"""Frames on a spritesheet at most, spread evenly from the first to the last."""

_X264 = {"preset": "medium", "crf": "17"}
"""A constant quality at which the eye finds no difference."""
_THUMBNAIL_SIDE = 320
_TILE_SIDE = 256
_STILL_QUALITY = 90
_MAX_RATE_DENOMINATOR = 1001
"""Enough for every rate in use, 24000/1001 among them."""


def encode_mp4(frames: Frames, fps: float) -> bytes:
    """The clip as H.264 in yuv420p (BT.709), its index at the front, so that it plays while it loads.

    One thread encodes: with several, the bytes depend on how many there are.

    Args:
        frames: (F, H, W, 3); H and W even, because colour is kept for squares of two by two pixels.
        fps: frames a second, above 0.

    Raises:
        ValueError: frames of another shape or type, an odd side, or a rate that is not positive.
    """
    _check(frames, fps)
    rate = Fraction(fps).limit_denominator(_MAX_RATE_DENOMINATOR)
    # The index is moved to the front by reading the file back, which needs a real one.
    with tempfile.TemporaryDirectory(prefix="rheostat-") as folder:
        file = Path(folder) / "clip.mp4"
        _write(file, frames, rate)
        return file.read_bytes()


def thumbnail(frames: Frames) -> tuple[bytes, tuple[int, int]]:
    """The middle frame as WebP, at most 320 pixels wide or high; its bytes and (width, height)."""
    image = _fitted(frames[len(frames) // 2], _THUMBNAIL_SIDE)
    return _still(image, "WEBP"), image.size


def spritesheet(frames: Frames) -> tuple[bytes, tuple[int, int]]:
    """The frames as one JPEG, row by row; its bytes and (width, height).

    `sheet_indices` names the frames. There are ceil(sqrt(tiles)) columns, each tile is at most 256 pixels
    wide or high, and what is left of the last row is black.
    """
    tiles = [_fitted(frames[index], _TILE_SIDE) for index in sheet_indices(len(frames))]
    columns = math.ceil(math.sqrt(len(tiles)))
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        sheet.paste(tile, (column * width, row * height))
    return _still(sheet, "JPEG"), sheet.size


def sheet_indices(num_frames: int) -> list[int]:
    """Which frames a spritesheet shows: all up to MAX_TILES, else so many from the first to the last."""
    count = min(num_frames, MAX_TILES)
    return [round(place * (num_frames - 1) / max(count - 1, 1)) for place in range(count)]


def _check(frames: Frames, fps: float) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ValueError(f"frames must be uint8 (F, H, W, 3), not {frames.dtype} {frames.shape}")
    for name, side in zip(("height", "width"), frames.shape[1:3], strict=True):
        if side % 2:
            raise ValueError(f"{name} {side} is odd: H.264 in yuv420p needs even sides")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive, not {fps}")


def _write(file: Path, frames: Frames, rate: Fraction) -> None:
    # By default the file counts in milliseconds, and a clip of 9 frames at 16 a second ends a tick too early.
    options = {"movflags": "+faststart", "movie_timescale": str(rate.numerator * 1000)}
    with av.open(str(file), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=rate, options=_X264)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        _tag(stream.codec_context)
        for frame in frames:
            container.mux(stream.encode(_yuv(frame)))
        container.mux(stream.encode())


def _tag(codec: Any) -> None:
    """Say which colours these are: players guess otherwise, and differently by the picture's height."""
    codec.thread_count = 1
    codec.colorspace = Colorspace.ITU709
    codec.color_primaries = ColorPrimaries.BT709
    codec.color_trc = ColorTrc.BT709
    codec.color_range = ColorRange.MPEG


def _yuv(frame: NDArray[np.uint8]) -> av.VideoFrame:
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    return rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)


def _fitted(frame: NDArray[np.uint8], side: int) -> Image.Image:
    """The frame, made smaller where it is larger than `side`."""
    image = Image.fromarray(frame)
    image.thumbnail((side, side))
    return image


def _still(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, quality=_STILL_QUALITY)
    return buffer.getvalue()
