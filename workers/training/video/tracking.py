"""Measure moving sprites from the frames alone: no network, no knowledge of the caption.

Every pixel is a neutral part and a coloured part. The coloured part is a vector in the plane across the grey
axis: its length is how much of an object is there, its angle says which colour. What each colour covers is
tracked by its centre from frame to frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from workers.training.clips import CLIP_BACKGROUNDS, CLIP_COLOURS, DIRECTIONS, SPEEDS, Frames

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

_FAINT = 0.1  # of full colour: below it a pixel is ground; decoders leave such tints
_LEAST_MASS = 2.0  # pixels of full colour that make an object
_LEAST_SHARE = 0.12  # of the larger object's mass that makes a second object; less is fringe
_REACH = 9.0  # pixels round an object's middle that may belong to it
_STANDING = 0.15  # pixels a frame below which nothing moves: .3 of the slowest speed
_LEAST_FRAMES = 5


def coloured_part(frames: Frames) -> tuple[Array, Array]:
    """(..., 3) uint8 to the two coordinates across the grey axis; length 1 is a fully saturated primary."""
    red, green, blue = np.moveaxis(frames.astype(np.float64) / 255, -1, 0)
    return red - (green + blue) / 2, sqrt(3) / 2 * (green - blue)


def _axes() -> Array:
    """(6, 2): unit vector of every palette colour in the plane across the grey axis."""
    across = np.stack(coloured_part(np.array(list(CLIP_COLOURS.values()), dtype=np.uint8)), axis=-1)
    return np.asarray(across / np.linalg.norm(across, axis=-1, keepdims=True))


_AXES = _axes()


def coverage(frames: Frames) -> Array:
    """How much of each palette colour is where: (6, F, H, W), each pixel given to its nearest colour."""
    across = np.stack(coloured_part(frames), axis=-1)
    amount = (np.linalg.norm(across, axis=-1) - _FAINT).clip(0)
    nearest = (across @ _AXES.T).argmax(-1)
    return np.where(nearest == np.arange(len(_AXES))[:, None, None, None], amount, 0.0)


@dataclass(frozen=True, eq=False)
class Track:
    """One object followed through a clip.

    Attributes:
        colour: a name of the palette.
        centres: (F, 2) right and down in pixels, NaN where it is not seen.
        masses: (F,) pixels of full colour.
    """

    colour: str
    centres: Array
    masses: Array

    @property
    def velocity(self) -> tuple[float, float]:
        """Pixels a frame, right and down: the line of least squares through the centres; NaN if not seen."""
        seen = np.flatnonzero(~np.isnan(self.centres[:, 0]))
        if len(seen) < _LEAST_FRAMES:
            return float("nan"), float("nan")
        right, down = np.polyfit(seen, self.centres[seen], 1)[0]
        return float(right), float(down)

    @property
    def speed(self) -> float:
        """Pixels a frame."""
        return hypot(*self.velocity)

    @property
    def displacement(self) -> float:
        """Pixels from the first to the last place where it is seen."""
        seen = self.centres[~np.isnan(self.centres[:, 0])]
        return float(np.linalg.norm(seen[-1] - seen[0])) if len(seen) else float("nan")

    @property
    def direction(self) -> str | None:
        """The nearest of the eight, None if it stands still or is not seen."""
        right, down = self.velocity
        if not self.speed >= _STANDING:
            return None
        return max(DIRECTIONS, key=lambda name: right * DIRECTIONS[name][0] + down * DIRECTIONS[name][1])

    @property
    def speed_name(self) -> str | None:
        """The nearest of the three by ratio, None if it stands still or is not seen."""
        if not self.speed >= _STANDING:
            return None
        return min(SPEEDS, key=lambda name: abs(np.log(self.speed / SPEEDS[name])))

    @property
    def pulse(self) -> float:
        """Mean change of its mass from frame to frame, as a share of its mean mass."""
        return float(np.abs(np.diff(self.masses)).mean() / max(self.masses.mean(), 1e-9))


def tracks(frames: Frames) -> list[Track]:
    """The one or two objects of a clip, the larger first; none if nothing coloured is there.

    Args:
        frames: (F, H, W, 3) uint8.
    """
    covered = coverage(frames)
    masses = covered.sum((1, 2, 3)) / len(frames)
    order = np.argsort(-masses)[:2]
    seen = [place for place in order if masses[place] >= max(_LEAST_MASS, _LEAST_SHARE * masses[order[0]])]
    names = list(CLIP_COLOURS)
    return [_follow(names[place], covered[place]) for place in seen]


def _follow(colour: str, covered: Array) -> Track:
    """Track one colour's (F, H, W) coverage."""
    followed = [_centre(frame) for frame in covered]
    return Track(colour, np.array([each[:2] for each in followed]), np.array([each[2] for each in followed]))


def _centre(frame: Array) -> tuple[float, float, float]:
    """Right, down and mass of one frame's (H, W) coverage; specks far from the middle do not count."""
    down, right = np.mgrid[: frame.shape[0], : frame.shape[1]]
    x, y = _weighted_median(frame.sum(0)), _weighted_median(frame.sum(1))
    near = np.where(np.maximum(abs(right - x), abs(down - y)) <= _REACH, frame, 0.0)
    mass = float(near.sum())
    if mass < _LEAST_MASS / 2:
        return float("nan"), float("nan"), mass
    return float((near * right).sum() / mass), float((near * down).sum() / mass), mass


def _weighted_median(weights: Array) -> int:
    """The place where half of the weight is passed."""
    return int(np.searchsorted(np.cumsum(weights), weights.sum() / 2))


def background_of_clip(frames: Frames) -> str:
    """The palette name nearest to the median colour of all frames' border pixels."""
    border = np.concatenate([frames[:, 0], frames[:, -1], frames[:, 1:-1, 0], frames[:, 1:-1, -1]], axis=1)
    colour = np.median(border.reshape(-1, 3), axis=0)
    return min(
        CLIP_BACKGROUNDS, key=lambda name: float(((colour - np.array(CLIP_BACKGROUNDS[name])) ** 2).sum())
    )


def ground(frames: Frames) -> Mask:
    """(F, H, W): where no object is, nor its soft edges, which reach two pixels out."""
    covered = np.pad(coverage(frames).sum(0) > 0, ((0, 0), (2, 2), (2, 2)))
    return ~np.asarray(sliding_window_view(covered, (5, 5), axis=(1, 2)).any((-1, -2)))


def flicker(frames: Frames) -> float:
    """Mean change from frame to frame where no object is in either, in levels of 255."""
    free = ground(frames)
    still = free[1:] & free[:-1]
    change = np.abs(np.diff(frames.astype(np.float64), axis=0)).mean(-1)
    return float(change[still].mean()) if still.any() else float("nan")


def crops(frames: Frames, track: Track, edge: int = 16) -> Array:
    """A track's own coverage round its centre, (F', edge, edge) in [0, 1], frames where it is seen."""
    covered = coverage(frames)[list(CLIP_COLOURS).index(track.colour)]
    half = edge // 2
    padded = np.pad(covered, ((0, 0), (half, half), (half, half)))
    seen = [
        padded[place, round(y) : round(y) + edge, round(x) : round(x) + edge]
        for place, (x, y) in enumerate(track.centres)
        if not np.isnan(x)
    ]
    cut = np.stack(seen) if seen else np.zeros((0, edge, edge))
    return np.asarray(cut / max(cut.max(initial=0.0), 1e-9))


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Rank correlation, ties sharing their mean rank; NaN if one side is constant."""
    ranks = [_ranks(np.asarray(side, dtype=np.float64)) for side in (left, right)]
    if min(each.std() for each in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Array) -> Array:
    below = (values[:, None] > values).sum(1)
    equal = (values[:, None] == values).sum(1)
    return np.asarray(below + (equal - 1) / 2, dtype=np.float64)
