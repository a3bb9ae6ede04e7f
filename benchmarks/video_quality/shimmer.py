"""Frame-to-frame flicker of what stands still."""

from __future__ import annotations

import numpy as np

from workers.training.clips import Frames
from workers.training.video.tracking import ground


def shimmer(frames: Frames) -> float:
    """Mean |f[t-1] - 2 f[t] + f[t+1]| over ground that no object touches in any of the three frames.

    The ground of these clips is plain and still, so all of it is error. A second difference is blind to a
    slow drift of the whole picture, which the eye forgives, and doubles what jumps to and fro.

    Args:
        frames: (F, H, W, 3) uint8, F at least 3.

    Returns:
        Levels of 255; NaN where no ground is free.
    """
    free = ground(frames)
    still = free[:-2] & free[1:-1] & free[2:]
    change = np.abs(np.diff(frames.astype(np.float64), n=2, axis=0)).mean(-1)
    return float(change[still].mean()) if still.any() else float("nan")
