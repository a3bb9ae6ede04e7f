"""How a discrete model's tokens are read: as characters, or as four voices. Gateways check by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from protocol.notes import FIRST_PITCH, PARTS, Note, notes_of, tokens_of


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class CharacterVocabulary(_Frozen):
    """One token a character."""

    kind: Literal["CharacterVocabulary"] = Field("CharacterVocabulary", alias="_class_name")
    characters: str

    @model_validator(mode="after")
    def _each_once(self) -> CharacterVocabulary:
        if len(set(self.characters)) != len(self.characters):
            raise ValueError("a character stands twice in the vocabulary")
        return self

    @property
    def size(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text.

        Raises:
            ValueError: a character that is not in the vocabulary.
        """
        places = {character: token for token, character in enumerate(self.characters)}
        if set(text) - set(places):
            raise ValueError("it holds characters that the vocabulary has no token for")
        return [places[character] for character in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return "".join(self.characters[token] for token in tokens)


class ChoraleVocabulary(_Frozen):
    """Four voices of `steps` sixteenths one after another, soprano first: place = voice * steps + step."""

    kind: Literal["ChoraleVocabulary"] = Field("ChoraleVocabulary", alias="_class_name")
    lowest: int
    highest: int
    steps: PositiveInt

    @property
    def size(self) -> int:
        return self.highest - self.lowest + 1 + FIRST_PITCH

    def encode(self, notes: Sequence[Note]) -> list[int]:
        """The tokens of four voices of `steps` steps.

        Raises:
            NotationError: two notes of a voice at once, or a pitch beyond the vocabulary.
        """
        voices = tokens_of(notes, self.lowest, self.highest, self.steps)
        return [token for voice in voices for token in voice]

    def decode(self, tokens: Sequence[int]) -> list[Note]:
        """The notes of tokens."""
        voices = [tokens[part * self.steps : (part + 1) * self.steps] for part in range(len(PARTS))]
        return notes_of(voices, self.lowest)


Vocabulary = Annotated[CharacterVocabulary | ChoraleVocabulary, Field(discriminator="kind")]
