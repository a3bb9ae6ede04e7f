"""MP4 and stills: what was encoded is what plays."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import av
import numpy as np
import pytest
from PIL import Image

from workers.media import Frames, encode_mp4, sheet_indices, spritesheet, thumbnail

SIDE = 64
SPOT = 16
BLUE, RED = (40, 90, 160), (220, 60, 40)


def moving_spot(num_frames: int = 9, height: int = SIDE, width: int = SIDE) -> Frames:
    """A red square of 16 pixels on blue, 4 pixels further to the right in every frame."""
    frames = np.full((num_frames, height, width, 3), BLUE, np.uint8)
    for index, frame in enumerate(frames):
        frame[8 : 8 + SPOT, 4 * index : 4 * index + SPOT] = RED
    return frames


def decode_mp4(data: bytes) -> Frames:
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def left_edges(frames: Frames) -> list[int]:
    """The first column of the red square in each frame, in its middle row."""
    return [int(np.argmax(frame[16, :, 0] > 130)) for frame in frames]


def boxes(data: bytes) -> list[str]:
    """The file's boxes in order: each says its length and its name."""
    names, place = [], 0
    while place < len(data):
        names.append(data[place + 4 : place + 8].decode())
        place += int.from_bytes(data[place : place + 4], "big")
    return names


def test_what_plays_is_what_was_encoded() -> None:
    frames = moving_spot()
    played = decode_mp4(encode_mp4(frames, 8.0))
    assert played.shape == frames.shape
    assert left_edges(played) == left_edges(frames) == [4 * index for index in range(9)]
    off = np.abs(played.astype(int) - frames)
    # Colour is kept for squares of two by two pixels, so only edges may stray.
    assert off.mean() < 2
    assert np.percentile(off, 90) <= 3


def test_colours_are_tagged_and_come_back() -> None:
    """Without a tag players guess by the picture's height, and reds turn orange."""
    plain = np.full((2, 32, 32, 3), RED, np.uint8)
    data = encode_mp4(plain, 8.0)
    with av.open(io.BytesIO(data)) as container:
        codec = container.streams.video[0].codec_context
        tags = (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range)
    assert [int(tag) for tag in tags] == [1, 1, 1, 1]
    assert np.abs(decode_mp4(data).astype(int) - plain).max() <= 3


@pytest.mark.parametrize(
    ("num_frames", "fps", "seconds"),
    [(9, 16.0, 0.5625), (9, 8.0, 1.125), (1, 16.0, 0.0625), (24, 23.976, 1.001)],
)
def test_the_file_says_how_long_it_plays(num_frames: int, fps: float, seconds: float) -> None:
    with av.open(io.BytesIO(encode_mp4(moving_spot(num_frames), fps))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.frames == num_frames
        assert stream.average_rate == pytest.approx(fps, rel=1e-5)
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(seconds, abs=1e-4)


def test_the_index_stands_before_the_pictures() -> None:
    """A player can begin before it has everything."""
    assert boxes(encode_mp4(moving_spot(), 8.0))[:2] == ["ftyp", "moov"]


@pytest.mark.parametrize("make", [lambda f: encode_mp4(f, 8.0), thumbnail, spritesheet])
def test_the_same_frames_are_the_same_bytes(make: Callable[[Frames], object]) -> None:
    assert make(moving_spot()) == make(moving_spot()[:, ::1])
    assert make(moving_spot()) != make(moving_spot()[::-1] // 2)


def test_frames_need_not_lie_in_one_piece() -> None:
    wide = moving_spot(width=2 * SIDE)
    assert encode_mp4(wide[:, :, :SIDE], 8.0) == encode_mp4(wide[:, :, :SIDE].copy(), 8.0)


@pytest.mark.parametrize(
    ("frames", "fps", "named"),
    [
        (moving_spot(height=33), 8.0, "height 33 is odd"),
        (moving_spot(width=47), 8.0, "width 47 is odd"),
        (moving_spot()[:0], 8.0, r"\(0, 64, 64, 3\)"),
        (moving_spot()[0], 8.0, r"\(64, 64, 3\)"),
        (moving_spot()[..., :1], 8.0, r"\(9, 64, 64, 1\)"),
        (moving_spot().astype(np.float32), 8.0, "float32"),
        (moving_spot(), 0.0, "fps must be positive"),
        (moving_spot(), math.nan, "fps must be positive"),
    ],
)
def test_what_cannot_be_encoded_is_named(frames: Frames, fps: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        encode_mp4(frames, fps)


def test_the_thumbnail_is_the_middle_frame() -> None:
    frames = moving_spot()
    data, size = thumbnail(frames)
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size) == ("WEBP", size) == ("WEBP", (SIDE, SIDE))
    assert left_edges(np.asarray(image)[None]) == left_edges(frames[4:5]) == [16]


def test_a_large_thumbnail_is_made_smaller_and_keeps_its_shape() -> None:
    _, size = thumbnail(np.zeros((1, 480, 960, 3), np.uint8))
    assert size == (320, 160)


def test_a_spritesheet_shows_every_frame_in_order() -> None:
    """Nine frames are three rows of three; tile (row, column) is frame 3 * row + column."""
    data, size = spritesheet(moving_spot())
    sheet = np.asarray(Image.open(io.BytesIO(data)))
    assert size == (3 * SIDE, 3 * SIDE)
    tiles = np.stack(
        [sheet[64 * row : 64 * row + 64, 64 * col : 64 * col + 64] for row in range(3) for col in range(3)]
    )
    assert left_edges(tiles) == pytest.approx([4 * index for index in range(9)], abs=1)


def test_a_long_clip_s_sheet_is_spread_from_the_first_to_the_last() -> None:
    assert sheet_indices(1) == [0]
    assert sheet_indices(5) == [0, 1, 2, 3, 4]
    # 16 of 31: every second one.
    assert sheet_indices(31) == list(range(0, 31, 2))
    assert (len(sheet_indices(81)), sheet_indices(81)[-1]) == (16, 80)
    # Five tiles stand in rows of three; the sixth place stays black.
    data, size = spritesheet(moving_spot(5))
    assert size == (3 * SIDE, 2 * SIDE)
    assert np.asarray(Image.open(io.BytesIO(data)))[SIDE + 8 :, 2 * SIDE + 8 :].max() < 10
