"""Rows of tokens in flight, and the draws every move makes on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from workers.kernels import gibbs_step
from workers.sampling.discrete.draws import uniforms
from workers.sampling.discrete.given import Given


class TokenPoint(NamedTuple):
    """Where a score is wanted: tokens (B, d) and their total noise, one for all rows."""

    tokens: Tensor
    sigma: float


@dataclass(slots=True)
class TokenState:
    """Everything some rows remember between two calls of score. Rows know nothing of one another.

    Args:
        tokens: (B, d), int64.
        keys: (B,), int64, see `draws.row_keys`.
        given: what is kept.
        place: how many moves are done.
        calls: how many scores were told.
        memory: what a move leaves for a later one.
    """

    tokens: Tensor
    keys: Tensor
    given: Given
    place: int = 0
    calls: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict)

    def uniforms(self, count: int, purpose: str) -> Tensor:
        """(B, count) numbers in [0, 1) of this evaluation and purpose."""
        return uniforms(self.keys, count, self.calls, purpose)

    def everywhere(self) -> Tensor:
        """(B, d): every position's own index where it is free, -1 where it is given."""
        places = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return torch.where(self.given.mask, -1, places)

    def redraw(self, weights: Tensor, purpose: str) -> None:
        """Draw every free token anew from its row of weights (B, d, S)."""
        numbers = self.uniforms(self.tokens.shape[1], purpose)
        self.tokens = gibbs_step(self.tokens, weights, self.everywhere(), numbers)


class Move(Protocol):
    """One thing done to a state with the score at its tokens and the move's level."""

    @property
    def sigma(self) -> float:
        """The level at which it wants the score."""
        ...

    @property
    def leaves_ratios(self) -> bool:
        """Whether `apply` returns what the next move needs, so that no call is made for it."""
        ...

    def apply(self, state: TokenState, ratios: Tensor) -> Tensor | None:
        """Change the state's tokens; the ratios of those it leaves, where they are already known."""
        ...
