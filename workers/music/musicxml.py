"""MusicXML of four voices: one part each, bars of 4/4, notes tied over bar lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from protocol.notes import PARTS, STEPS_PER_QUARTER, Note

MUSICXML_TYPE = "application/vnd.recordare.musicxml+xml"
_BAR = 4 * STEPS_PER_QUARTER
_DOCTYPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC '
    '"-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)
_STEPS = ("C", "C#", "D", "E-", "E", "F", "F#", "G", "A-", "A", "B-", "B")
"""Spelling by pitch class: the one that is commonest in the chorales' keys."""
_ALTER = {"#": 1, "-": -1}
_WRITTEN: tuple[tuple[int, str, int], ...] = (
    (16, "whole", 0),
    (12, "half", 1),
    (8, "half", 0),
    (6, "quarter", 1),
    (4, "quarter", 0),
    (3, "eighth", 1),
    (2, "eighth", 0),
    (1, "16th", 0),
)
"""Lengths in steps that one notehead can have, with their dots."""
_CLEFS = (("G", 2, 0), ("G", 2, 0), ("G", 2, -1), ("F", 4, 0))


def write_musicxml(notes: Sequence[Note], steps: int) -> bytes:
    """A `score-partwise` document, UTF-8.

    Args:
        notes: of all voices, none of a voice at once.
        steps: length of the piece; the last bar is filled with rests.
    """
    score = ET.Element("score-partwise", version="4.0")
    listed = ET.SubElement(score, "part-list")
    for part, name in enumerate(PARTS):
        entry = ET.SubElement(listed, "score-part", id=f"P{part + 1}")
        ET.SubElement(entry, "part-name").text = name
    for part in range(len(PARTS)):
        element = ET.SubElement(score, "part", id=f"P{part + 1}")
        own = sorted(note for note in notes if note.part == part)
        for number, start in enumerate(range(0, steps, _BAR), 1):
            _write_bar(ET.SubElement(element, "measure", number=str(number)), part, own, start)
    ET.indent(score)
    written: bytes = ET.tostring(score, encoding="utf-8")
    return _DOCTYPE.encode() + written


def _write_bar(bar: ET.Element, part: int, notes: Sequence[Note], start: int) -> None:
    if start == 0:
        _write_attributes(bar, part)
    now, end = start, start + _BAR
    for note in notes:
        if note.end <= start or note.start >= end:
            continue
        begin, until = max(note.start, start), min(note.end, end)
        _write_rest(bar, begin - now)
        _write_note(bar, note, begin, until)
        now = until
    _write_rest(bar, end - now)


def _write_attributes(bar: ET.Element, part: int) -> None:
    attributes = ET.SubElement(bar, "attributes")
    ET.SubElement(attributes, "divisions").text = str(STEPS_PER_QUARTER)
    ET.SubElement(ET.SubElement(attributes, "key"), "fifths").text = "0"
    time = ET.SubElement(attributes, "time")
    ET.SubElement(time, "beats").text = "4"
    ET.SubElement(time, "beat-type").text = "4"
    sign, line, octave = _CLEFS[part]
    clef = ET.SubElement(attributes, "clef")
    ET.SubElement(clef, "sign").text = sign
    ET.SubElement(clef, "line").text = str(line)
    if octave:
        ET.SubElement(clef, "clef-octave-change").text = str(octave)


def _write_rest(bar: ET.Element, length: int) -> None:
    for piece in _pieces(length):
        element = ET.SubElement(bar, "note")
        ET.SubElement(element, "rest")
        _write_length(element, piece)


def _write_note(bar: ET.Element, note: Note, begin: int, until: int) -> None:
    """The share of a note within a bar, as tied noteheads."""
    now = begin
    for piece in _pieces(until - begin):
        element = ET.SubElement(bar, "note")
        pitch, name = ET.SubElement(element, "pitch"), _STEPS[note.pitch % 12]
        ET.SubElement(pitch, "step").text = name[0]
        if name[1:]:
            ET.SubElement(pitch, "alter").text = str(_ALTER[name[1:]])
        ET.SubElement(pitch, "octave").text = str(note.pitch // 12 - 1)
        ties = [
            kind for kind, tied in (("stop", now > note.start), ("start", now + piece < note.end)) if tied
        ]
        _write_length(element, piece, ties)
        now += piece


def _write_length(element: ET.Element, piece: int, ties: Sequence[str] = ()) -> None:
    ET.SubElement(element, "duration").text = str(piece)
    for kind in ties:
        ET.SubElement(element, "tie", type=kind)
    ET.SubElement(element, "voice").text = "1"
    name, dots = next((name, dots) for length, name, dots in _WRITTEN if length == piece)
    ET.SubElement(element, "type").text = name
    for _ in range(dots):
        ET.SubElement(element, "dot")
    if ties:
        notations = ET.SubElement(element, "notations")
        for kind in ties:
            ET.SubElement(notations, "tied", type=kind)


def _pieces(length: int) -> Iterator[int]:
    """Lengths of single noteheads that add up to `length`, the longest first."""
    while length:
        piece = next(each for each, _, _ in _WRITTEN if each <= length)
        yield piece
        length -= piece
