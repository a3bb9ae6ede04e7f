"""`tokenizer/vocabulary.json` of a discrete model's folder."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter

from protocol.vocabularies import CharacterVocabulary, ChoraleVocabulary, Vocabulary

VOCABULARY_FILE = "vocabulary.json"
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
