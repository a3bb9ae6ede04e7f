"""From a length in seconds to frames a model can make."""

from __future__ import annotations

from protocol.catalog import FrameLimits
from protocol.errors import InvalidRequest


def frames_for(seconds: float, model: str, frames: FrameLimits, fps: float) -> int:
    """The legal number of frames nearest to a length.

    Raises:
        InvalidRequest: none is near; `details` lists the lengths there are.
    """
    wanted = seconds * fps
    nearest = min(frames.legal, key=lambda count: abs(count - wanted))
    if abs(nearest - wanted) > max(1.0, frames.multiple / 2):
        lengths = [spelled(count / fps) for count in frames.legal]
        raise InvalidRequest(
            f"{model} makes no video of about this length", param="seconds", details={"allowed": [*lengths]}
        )
    return nearest


def spelled(seconds: float) -> str:
    """A length as OpenAI's API writes it: text, without trailing zeros."""
    return f"{seconds:.6g}"
