"""A piano roll: time to the right, pitch upwards, a colour a voice."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from protocol.notes import STEPS_PER_QUARTER, Note

ROLL_TYPE = "image/png"
_COLOURS = ((214, 69, 65), (230, 150, 40), (50, 140, 90), (50, 90, 180))
_PAPER, _BLACK_KEY, _LINE = (255, 255, 255), (243, 243, 243), (215, 215, 215)
_BLACK_KEYS = (1, 3, 6, 8, 10)
_MARGIN = 2
"""Pitches shown beyond the lowest and the highest note."""


def draw_roll(notes: Sequence[Note], steps: int, *, cell: tuple[int, int] = (10, 8)) -> bytes:
    """A PNG, RGB; every note keeps a gap of a pixel to the next.

    Args:
        notes: of all voices; the soprano is drawn last, on top.
        steps: width of the roll.
        cell: pixels of a step and of a pitch.
    """
    wide, high = cell
    pitches = [note.pitch for note in notes] or [60]
    lowest, highest = min(pitches) - _MARGIN, max(pitches) + _MARGIN
    image = Image.new("RGB", (steps * wide, (highest - lowest + 1) * high), _PAPER)
    draw = ImageDraw.Draw(image)
    for pitch in range(lowest, highest + 1):
        if pitch % 12 in _BLACK_KEYS:
            top = (highest - pitch) * high
            draw.rectangle((0, top, image.width, top + high - 1), fill=_BLACK_KEY)
    for step in range(0, steps, 4 * STEPS_PER_QUARTER):
        draw.line((step * wide, 0, step * wide, image.height), fill=_LINE)
    for note in sorted(notes, reverse=True):
        top = (highest - note.pitch) * high
        box = (note.start * wide, top, note.end * wide - 2, top + high - 2)
        draw.rectangle(box, fill=_COLOURS[note.part])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
