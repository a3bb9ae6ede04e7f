"""Vocabularies of discrete models: `tokenizer/vocabulary.json` of a folder, to and from text or notes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from workers.music import PARTS, Note, PitchVocabulary

VOCABULARY_FILE = "vocabulary.json"


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
        if unknown := sorted(set(text) - set(places)):
            raise ValueError(f"no token for {unknown}; there is {self.characters!r}")
        return [places[character] for character in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return "".join(self.characters[token] for token in tokens)


class ChoraleVocabulary(_Frozen):
    """Four voices of `steps` sixteenths one after another, soprano first: place = voice * steps + step."""

    kind: Literal["ChoraleVocabulary"] = Field("ChoraleVocabulary", alias="_class_name")
    lowest: int
    highest: int
    steps: int

    @property
    def pitches(self) -> PitchVocabulary:
        """How a voice's tokens are read."""
        return PitchVocabulary(self.lowest, self.highest)

    @property
    def size(self) -> int:
        return self.pitches.size

    def encode(self, notes: Sequence[Note]) -> list[int]:
        """The tokens of four voices of `steps` steps.

        Raises:
            NotationError: two notes of a voice at once, or a pitch beyond the vocabulary.
        """
        tokens: list[int] = self.pitches.tokens(notes, self.steps).flatten().tolist()
        return tokens

    def decode(self, tokens: Sequence[int]) -> list[Note]:
        """The notes of tokens."""
        return self.pitches.notes(np.asarray(tokens).reshape(len(PARTS), self.steps))


Vocabulary = Annotated[CharacterVocabulary | ChoraleVocabulary, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[CharacterVocabulary | ChoraleVocabulary] = TypeAdapter(Vocabulary)


def read_vocabulary(folder: Path) -> CharacterVocabulary | ChoraleVocabulary:
    """The vocabulary of a `tokenizer` folder.

    Raises:
        ValueError: of no kind we know; the message lists those that are.
    """
    return _ADAPTER.validate_json((folder / VOCABULARY_FILE).read_bytes())


def write_vocabulary(vocabulary: CharacterVocabulary | ChoraleVocabulary, folder: Path) -> None:
    """Write the one file of a `tokenizer` folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(vocabulary.model_dump(by_alias=True), indent=2, ensure_ascii=False)
    (folder / VOCABULARY_FILE).write_text(content + "\n", "utf-8")
