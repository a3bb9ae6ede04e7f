"""What a finished sample is stored as: a picture as PNG, a clip as MP4 with its stills."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from protocol.artifacts import Still
from protocol.receipts import Output
from workers.encoding import IMAGE_TYPE, encode_png
from workers.engine import SampleResult
from workers.media import (
    SPRITESHEET_TYPE,
    THUMBNAIL_TYPE,
    VIDEO_TYPE,
    Frames,
    encode_mp4,
    spritesheet,
    thumbnail,
)


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample's files before they are stored. `output` says what `data` holds."""

    seed: int
    data: bytes
    output: Output
    stills: tuple[Still, ...] = ()


def encode_sample(sample: SampleResult, fps: float | None) -> EncodedSample:
    """The files of a sample.

    Args:
        fps: of the model, for samples that are clips.
    """
    if sample.video is not None:
        assert fps is not None, "models of clips say how fast they play"
        return _clip(sample.seed, sample.video, fps)
    assert sample.image is not None, "a sample is a picture or a clip"
    return _picture(sample.seed, encode_png(sample.image), *sample.image.size)


def _picture(seed: int, data: bytes, width: int, height: int) -> EncodedSample:
    output = Output(media_type=IMAGE_TYPE, bytes=len(data), sha256=_sha256(data), width=width, height=height)
    return EncodedSample(seed, data, output)


def _clip(seed: int, frames: Frames, fps: float) -> EncodedSample:
    data = encode_mp4(frames, fps)
    count, height, width, _ = frames.shape
    output = Output(
        media_type=VIDEO_TYPE,
        bytes=len(data),
        sha256=_sha256(data),
        width=width,
        height=height,
        frames=count,
        fps=fps,
        duration_s=count / fps,
    )
    (small, small_size), (sheet, sheet_size) = thumbnail(frames), spritesheet(frames)
    stills = (
        Still("thumbnail", small, THUMBNAIL_TYPE, *small_size),
        Still("spritesheet", sheet, SPRITESHEET_TYPE, *sheet_size),
    )
    return EncodedSample(seed, data, output, stills)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
