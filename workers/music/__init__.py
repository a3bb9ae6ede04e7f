"""Four-part music on a grid of sixteenths: tokens, notes, MIDI, MusicXML, piano roll. No model, no torch."""

from workers.music.grid import PARTS, STEPS_PER_QUARTER, NotationError, Note, PitchVocabulary
from workers.music.midi import read_midi, write_midi
from workers.music.musicxml import write_musicxml
from workers.music.roll import draw_roll

__all__ = [
    "PARTS",
    "STEPS_PER_QUARTER",
    "NotationError",
    "Note",
    "PitchVocabulary",
    "draw_roll",
    "read_midi",
    "write_midi",
    "write_musicxml",
]
