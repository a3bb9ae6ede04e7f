"""What a finished sample is stored as: PNG, MP4 with its stills, plain text, MIDI with roll and score."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from protocol.artifacts import Side
from protocol.events import Clip, Score, Variant
from protocol.notes import MIDI_TYPE
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
from workers.models import Piece
from workers.music import MUSICXML_TYPE, ROLL_TYPE, draw_roll, write_midi, write_musicxml

TEXT_TYPE = "text/plain"


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample's files before they are stored. `output` says what `data` holds; music has `steps`."""

    seed: int
    data: bytes
    output: Output
    sides: tuple[Side, ...] = ()
    steps: int | None = None

    def shown(self, variants: tuple[Variant, ...]) -> Clip | Score | None:
        """What a stored video or stored music is, its other files stored as well; None of all else."""
        if self.steps is not None:
            return Score(steps=self.steps, variants=variants)
        output = self.output
        if output.width is None or output.height is None or output.frames is None or output.fps is None:
            return None
        return Clip(
            width=output.width,
            height=output.height,
            frames=output.frames,
            fps=output.fps,
            variants=variants,
        )


def encode_sample(sample: SampleResult, fps: float | None) -> EncodedSample:
    """The files of a sample.

    Args:
        fps: of the model, for samples that are clips.
    """
    if sample.video is not None:
        assert fps is not None, "models of clips say how fast they play"
        return _clip(sample.seed, sample.video, fps)
    if sample.piece is not None:
        return _piece(sample.seed, sample.piece)
    if sample.text is not None:
        return _plain(sample.seed, sample.text.encode(), TEXT_TYPE)
    assert sample.image is not None, "else a sample is a picture"
    return _picture(sample.seed, encode_png(sample.image), *sample.image.size)


def _picture(seed: int, data: bytes, width: int, height: int) -> EncodedSample:
    output = Output(media_type=IMAGE_TYPE, bytes=len(data), sha256=_sha256(data), width=width, height=height)
    return EncodedSample(seed, data, output)


def _plain(seed: int, data: bytes, media_type: str, **sides: Any) -> EncodedSample:
    output = Output(media_type=media_type, bytes=len(data), sha256=_sha256(data))
    return EncodedSample(seed, data, output, **sides)


def _piece(seed: int, piece: Piece) -> EncodedSample:
    roll = draw_roll(piece.notes, piece.steps)
    sides = (
        Side("roll", roll, ROLL_TYPE, *_size(roll)),
        Side("musicxml", write_musicxml(piece.notes, piece.steps), MUSICXML_TYPE),
    )
    return _plain(seed, write_midi(piece.notes, piece.steps), MIDI_TYPE, sides=sides, steps=piece.steps)


def _size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        return image.size


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
        Side("thumbnail", small, THUMBNAIL_TYPE, *small_size),
        Side("spritesheet", sheet, SPRITESHEET_TYPE, *sheet_size),
    )
    return EncodedSample(seed, data, output, stills)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
