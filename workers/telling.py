"""What callers are told of the engine's events."""

from __future__ import annotations

import base64

from protocol.events import Preview, Step
from workers.encoding import encode_png
from workers.engine import Previewed, StepDone

_PREVIEW_SIDE = 256
"""Previews travel through Redis to everybody who listens: larger ones are made smaller."""


def tell_step(done: StepDone, attempt: int) -> Step:
    """One evaluation of one sample."""
    line = done.line
    return Step(
        sample=done.sample,
        attempt=attempt,
        index=line.index,
        action=line.action,
        blocks_run=line.blocks_run,
        tflops=line.tflops,
        spent=done.spent_tflops,
        risk=line.risk,
        threshold=line.threshold,
    )


def tell_preview(shown: Previewed, attempt: int) -> Preview:
    """A preview, its picture at most 256 pixels wide or high."""
    image = shown.image.copy()
    image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    b64_png = base64.b64encode(encode_png(image)).decode()
    return Preview(sample=shown.sample, attempt=attempt, step=shown.step, b64_png=b64_png)
