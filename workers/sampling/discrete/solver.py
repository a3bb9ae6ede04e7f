"""A run asked and told: where it wants the score, and what it makes of it. `sample` and engine share it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.sampling.discrete.draws import uniforms
from workers.sampling.discrete.given import Given
from workers.sampling.discrete.plan import count_calls, plan_moves
from workers.sampling.discrete.settings import Settings
from workers.sampling.discrete.state import Move, TokenPoint, TokenState
from workers.sampling.discrete.steps import Denoise, FirstStage, Predict, SecondStage


class DiscreteSolver:
    """Moves through a plan. Its memory is the state, never itself, so one solver serves any number of rows.

    Args:
        settings: of the run.
        nfe: calls of score it makes, at least 1.
    """

    def __init__(self, settings: Settings, nfe: int) -> None:
        self.settings = settings
        self.moves: Sequence[Move] = plan_moves(settings, nfe)

    @property
    def nfe(self) -> int:
        """Calls of score, all of them."""
        return count_calls(self.moves)

    def start(self, keys: Tensor, given: Given) -> TokenState:
        """Rows of even tokens, with the given ones in place. The device is the keys'."""
        size = self.settings.vocab_size
        numbers = uniforms(keys, self.settings.num_tokens, 0, "start")
        tokens = (numbers.double() * size).long()
        return TokenState(given.impose(tokens), keys, given)

    def ask(self, state: TokenState) -> TokenPoint | None:
        """Where to call score next; None when the rows are done or have no free token. Changes nothing."""
        if state.place == len(self.moves) or bool(state.given.mask.all()):
            return None
        return TokenPoint(state.tokens, self.moves[state.place].sigma)

    def purpose(self, state: TokenState) -> str:
        """What the score asked for next is for: `predict`, `correct` or `denoise`.

        Where a move leaves it to the next one, that one's.
        """
        rest = self.moves[state.place :]
        move = next((each for each in rest if not each.leaves_ratios), rest[0])
        if isinstance(move, Denoise):
            return "denoise"
        return "predict" if isinstance(move, Predict | FirstStage | SecondStage) else "correct"

    def tell(self, state: TokenState, ratios: Tensor) -> None:
        """Take the ratios (B, d, S) at the point last asked, and make all moves that need no other call.

        Raises:
            ValueError: their shape is another, or one is not a number.
        """
        self._check(state, ratios)
        known: Tensor | None = ratios
        while known is not None and state.place < len(self.moves):
            known = self.moves[state.place].apply(state, known)
            state.place += 1
        state.calls += 1

    def _check(self, state: TokenState, ratios: Tensor) -> None:
        wanted = (*state.tokens.shape, self.settings.vocab_size)
        if tuple(ratios.shape) != wanted:
            raise ValueError(f"score gave {tuple(ratios.shape)}; it must give (B, d, S), {wanted}")
        if torch.isnan(ratios).any():
            raise ValueError(f"score gave values that are not numbers at call {state.calls}")
