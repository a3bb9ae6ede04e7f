"""What the frames show is what the caption says; and what is spoilt is measured as spoilt."""

from __future__ import annotations

import random
from math import isnan, sqrt

import numpy as np
import pytest
from PIL import Image, ImageFilter

from workers.training.clips import (
    CLIP_BACKGROUNDS,
    CLIP_COLOURS,
    NUM_FRAMES,
    SPEEDS,
    Clip,
    ClipAttributes,
    Frames,
    Mover,
    clip_of,
    sample_clips,
)
from workers.training.video.tracking import (
    Track,
    background_of_clip,
    coverage,
    crops,
    flicker,
    spearman,
    tracks,
)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return sample_clips(200, 5, "heldout")


def seen(frames: Frames) -> dict[str, Track]:
    return {track.colour: track for track in tracks(frames)}


def moving_square(steps: list[float], colour: str = "green", background: str = "white") -> Frames:
    """A square of 10 pixels whose left edge stands at 4 + step, columns rounded."""
    frames = np.empty((len(steps), 32, 32, 3), dtype=np.uint8)
    frames[:] = CLIP_BACKGROUNDS[background]
    for frame, step in zip(frames, steps, strict=True):
        frame[11:21, 4 + round(step) : 14 + round(step)] = CLIP_COLOURS[colour]
    return frames


def share_right(clips: list[Clip], frames: list[Frames]) -> dict[str, float]:
    right = {"colours": 0, "direction": 0, "speed": 0, "background": 0}
    movers = 0
    for clip, shown in zip(clips, frames, strict=True):
        found = seen(shown)
        right["colours"] += set(found) == {mover.colour for mover in clip.attributes.movers}
        right["background"] += background_of_clip(shown) == clip.attributes.background
        for mover in clip.attributes.movers:
            movers += 1
            if (track := found.get(mover.colour)) is not None:
                right["direction"] += track.direction == mover.direction
                right["speed"] += track.speed_name == mover.speed
    totals = {"direction": movers, "speed": movers}
    return {name: count / totals.get(name, len(clips)) for name, count in right.items()}


def test_captions_are_true_of_the_frames(clips: list[Clip]) -> None:
    assert share_right(clips, [clip.frames for clip in clips]) == {
        "colours": 1.0,
        "direction": 1.0,
        "speed": 1.0,
        "background": 1.0,
    }


def test_speed_is_measured_to_a_twentieth_of_a_pixel(clips: list[Clip]) -> None:
    for clip in clips:
        for mover in clip.attributes.movers:
            speed = seen(clip.frames)[mover.colour].speed
            assert speed == pytest.approx(SPEEDS[mover.speed or ""], abs=0.05)


def test_blurred_and_noisy_frames_are_still_read(clips: list[Clip]) -> None:
    """As a decoder leaves them: a blur of 0.8 pixels, noise of 6 levels."""
    rng = np.random.default_rng(0)

    def spoil(frames: Frames) -> Frames:
        blurred = [
            np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(0.8))) for frame in frames
        ]
        noisy = np.stack(blurred) + rng.normal(0, 6, frames.shape)
        return noisy.clip(0, 255).round().astype(np.uint8)

    assert min(share_right(clips, [spoil(clip.frames) for clip in clips]).values()) >= 0.97


def test_backward_clips_are_read_as_moving_the_other_way(clips: list[Clip]) -> None:
    shares = share_right(clips, [clip.frames[::-1] for clip in clips])
    assert shares["direction"] == 0.0
    assert shares["speed"] == shares["colours"] == 1.0


def test_standing_clips_move_nowhere(clips: list[Clip]) -> None:
    still = [np.repeat(clip.frames[:1], NUM_FRAMES, axis=0) for clip in clips[:20]]
    assert share_right(clips[:20], still)["direction"] == 0.0


def test_a_square_by_hand() -> None:
    """Two pixels a frame to the right from columns 4 to 13: centres 8.5, 10.5, ...; rows 11 to 20: 15.5."""
    (track,) = tracks(moving_square([0, 2, 4, 6, 8]))
    assert track.colour == "green"
    assert track.centres.tolist() == pytest.approx(np.array([[8.5 + 2 * k, 15.5] for k in range(5)]))
    assert track.velocity == pytest.approx((2.0, 0.0))
    assert (track.direction, track.speed_name) == ("right", "fast")
    assert track.displacement == pytest.approx(8.0)
    assert track.pulse == pytest.approx(0.0)
    # Green is (40, 176, 64): across the grey axis 40 - 120 = -80 and .866 x 112 = 97, length 125.7 of 255.
    amount = sqrt(80**2 + (sqrt(3) / 2 * 112) ** 2) / 255 - 0.1
    assert track.masses == pytest.approx(100 * amount)


def test_an_object_that_fades_pulses_and_one_that_is_lost_has_no_speed() -> None:
    frames = moving_square([0, 1, 2, 3, 4, 5, 6, 7, 8])
    half = frames.copy()
    half[1::2, 11:16] = CLIP_BACKGROUNDS["white"]  # every other frame shows half of the square
    assert tracks(half)[0].pulse == pytest.approx(0.5 / (7 / 9), abs=1e-6)  # mean mass: (5 + 4 x .5) / 9
    frames[4:] = CLIP_BACKGROUNDS["white"]
    (lost,) = tracks(frames)
    assert isnan(lost.speed)
    assert lost.direction is None


def test_nothing_is_seen_on_bare_ground() -> None:
    bare = np.full((9, 32, 32, 3), 128, dtype=np.uint8)
    assert tracks(bare) == []
    assert flicker(bare) == 0.0


def test_flicker_is_the_ground_s_change_not_the_object_s() -> None:
    frames = moving_square([0, 2, 4, 6])
    assert flicker(frames) == 0.0
    frames[1::2, 0:4] -= 8  # 4 of 32 rows change by 8 levels at every frame
    changed = flicker(frames)
    # The square and two pixels round it are left out: 14 rows of 32, 14 + 2 columns between two frames.
    assert changed == pytest.approx(8 * 4 * 32 / (32 * 32 - 14 * 16), rel=1e-6)


def test_hue_survives_mixing_with_any_ground() -> None:
    """Half object, half ground: still all of it the object's colour, at half the amount."""
    for background in CLIP_BACKGROUNDS:
        for place, colour in enumerate(CLIP_COLOURS):
            mixed = (np.array(CLIP_COLOURS[colour]) + np.array(CLIP_BACKGROUNDS[background])) // 2
            covered = coverage(np.full((1, 1, 1, 3), mixed, dtype=np.uint8))[:, 0, 0, 0]
            assert covered.argmax() == place
            assert np.count_nonzero(covered) == 1


def test_crops_hold_one_object_in_grey() -> None:
    movers = (Mover("apple", "red", "up", "slow"), Mover("star", "blue", "down", "fast"))
    clip = clip_of(ClipAttributes(movers, "gray"), random.Random(1))
    red = seen(clip.frames)["red"]
    cut = crops(clip.frames, red)
    assert cut.shape == (9, 16, 16)
    assert cut.max() == 1.0
    # Everything red is in it: a sprite of 10 fits a crop of 16, and no blue is counted.
    assert cut.sum((1, 2)) * coverage(clip.frames)[0].max() == pytest.approx(red.masses)


def test_rank_correlation_by_hand() -> None:
    """Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3: 4.5 / sqrt(4.5 x 5) = .9487."""
    assert spearman([1, 2, 2, 3], [10, 20, 30, 40]) == pytest.approx(4.5 / sqrt(4.5 * 5))
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert isnan(spearman([1, 1], [1, 2]))
