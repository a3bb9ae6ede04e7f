"""Four-part music on a grid of sixteenths: tokens, notes, MIDI, MusicXML, piano roll. No model, no torch."""

from protocol.midi import read_midi
from protocol.notes import PARTS, STEPS_PER_QUARTER, NotationError, Note
from workers.music.grid import PitchVocabulary
from workers.music.midi import write_midi
from workers.music.musicxml import MUSICXML_TYPE, write_musicxml
from workers.music.roll import ROLL_TYPE, draw_roll

__all__ = [
    "MUSICXML_TYPE",
    "PARTS",
    "ROLL_TYPE",
    "STEPS_PER_QUARTER",
    "NotationError",
    "Note",
    "PitchVocabulary",
    "draw_roll",
    "read_midi",
    "write_midi",
    "write_musicxml",
]
