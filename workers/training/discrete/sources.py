"""Endless clean sequences of a training split, and the parts of them that a request might give."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.music import PARTS
from workers.training.chorales import CHORALE_VOCABULARY, STEPS, Windows
from workers.training.discrete.trainee import Source
from workers.training.texts import TEXT_LENGTH, VOCABULARY, TextCorpus

_LEAST_GIVEN = TEXT_LENGTH // 8
_MOST_GIVEN = 3 * TEXT_LENGTH // 4


class TextSource(Source):
    """Windows at any place of the glosses."""

    vocabulary = VOCABULARY.size
    length = TEXT_LENGTH

    def __init__(self, corpus: TextCorpus) -> None:
        self.corpus = corpus

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Texts (count, 128)."""
        starts = torch.randint(self.corpus.num_starts, (count,), generator=generator)
        return torch.from_numpy(self.corpus.windows(starts.numpy())).long()

    def given(self, count: int, generator: torch.Generator) -> Tensor:
        """A span of 16 to 96 characters, one time in two the text's beginning."""
        lengths = torch.randint(_LEAST_GIVEN, _MOST_GIVEN + 1, (count, 1), generator=generator)
        starts = torch.rand(count, 1, generator=generator) * (TEXT_LENGTH - lengths + 1)
        starts = starts.long() * torch.randint(2, (count, 1), generator=generator)
        places = torch.arange(TEXT_LENGTH)
        return (places >= starts) & (places < starts + lengths)


class ChoraleSource(Source):
    """Windows of four bars in any key they allow, voice after voice."""

    vocabulary = CHORALE_VOCABULARY.size
    length = len(PARTS) * STEPS

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self._shifts = torch.from_numpy(windows.shifts)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Chorales (count, 256)."""
        rows = torch.randint(len(self.windows.tokens), (count,), generator=generator)
        lowest, highest = self._shifts[rows].unbind(1)
        share = torch.rand(count, generator=generator)
        shifts = lowest + (share * (highest - lowest + 1)).long()
        return torch.from_numpy(self.windows.shifted(rows.numpy(), shifts.numpy())).flatten(1)

    def given(self, count: int, generator: torch.Generator) -> Tensor:
        """One time in two the soprano, else any one to three voices, or some of the bars of all."""
        kind = torch.rand(count, 1, 1, generator=generator)
        soprano = (torch.arange(len(PARTS)) == 0)[None, :, None].expand(count, -1, STEPS)
        order = torch.rand(count, len(PARTS), generator=generator).argsort(1).argsort(1)
        number = torch.randint(1, len(PARTS), (count, 1), generator=generator)
        voices = (order < number)[..., None].expand(-1, -1, STEPS)
        bars = (torch.rand(count, 4, generator=generator) < 0.5).repeat_interleave(STEPS // 4, dim=1)
        chosen = torch.where(kind < 0.75, voices, bars[:, None].expand(-1, len(PARTS), -1))
        return torch.where(kind < 0.5, soprano, chosen).flatten(1)
