"""Sources small enough to list every sequence: their law at every noise level, and exact scores."""

from __future__ import annotations

import itertools
import math
from functools import cached_property, reduce

import torch
from torch import Tensor


class Enumerable:
    """A law over all S^d sequences, in float64.

    Args:
        law: (S,) * d, sums to 1.
    """

    def __init__(self, law: Tensor) -> None:
        self.law = law.double() / law.double().sum()
        self.num_tokens, self.vocab_size = law.ndim, law.shape[0]
        listed = itertools.product(range(self.vocab_size), repeat=self.num_tokens)
        self.states = torch.tensor(list(listed))
        self.strides = torch.tensor([self.vocab_size**place for place in reversed(range(self.num_tokens))])

    def index(self, tokens: Tensor) -> Tensor:
        """Which states these tokens (..., d) are."""
        return (tokens * self.strides).sum(-1)

    def at(self, sigma: float) -> Tensor:
        """(K,): the law after noise `sigma`."""
        kept, size = math.exp(-sigma), self.vocab_size
        law = self.law
        for place in range(self.num_tokens):
            law = kept * law + (1 - kept) / size * law.sum(place, keepdim=True)
        return law.flatten()

    def ratios(self, sigma: float) -> Tensor:
        """(K, d, S): the exact score at every state."""
        law = self.at(sigma)
        return law[self.neighbours] / law[:, None, None]

    @cached_property
    def neighbours(self) -> Tensor:
        """(K, d, S): the state each one is with token i set to a."""
        base = torch.arange(len(self.states))[:, None] - self.states * self.strides
        values = torch.arange(self.vocab_size)
        return base[..., None] + values * self.strides[:, None]

    def score(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """As `sample` calls it."""
        return self.ratios(float(sigma[0]))[self.index(tokens)].float()


def autoregressive(vocab_size: int, num_tokens: int, *, scale: float = 1.0, seed: int = 0) -> Enumerable:
    """Each token depends on the two before it, by logits normal with deviation `scale`."""
    generator = torch.Generator().manual_seed(seed)
    size = vocab_size
    logits = torch.randn(num_tokens, size, size, size, generator=generator, dtype=torch.float64)
    steps = (scale * logits).softmax(-1)
    parts = [steps[0, 0, 0].reshape(size, *(1,) * (num_tokens - 1))]
    if num_tokens > 1:
        parts.append(steps[1, 0].reshape(size, size, *(1,) * (num_tokens - 2)))
    for place in range(2, num_tokens):
        before, after = place - 2, num_tokens - place - 1
        parts.append(steps[place].reshape((1,) * before + (size,) * 3 + (1,) * after))
    return Enumerable(reduce(torch.mul, parts).expand((size,) * num_tokens))


def point_masses(vocab_size: int, num_tokens: int, *, count: int, seed: int = 0) -> Enumerable:
    """Evenly `count` sequences, drawn once."""
    generator = torch.Generator().manual_seed(seed)
    law = torch.zeros(vocab_size**num_tokens)
    law[torch.randperm(len(law), generator=generator)[:count]] = 1.0
    return Enumerable(law.reshape((vocab_size,) * num_tokens))


def total_variation(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().sum() / 2)
