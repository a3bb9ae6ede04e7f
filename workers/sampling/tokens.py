"""Discrete runs as the engine asks and tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.core import Point, Sample, Schedule, SolverState
from workers.sampling.discrete import DiscreteSolver, TokenState, read_given, read_settings, row_keys
from workers.sampling.discrete.predictors import PREDICTORS
from workers.sampling.discrete.settings import DEFAULT_SIGMA_MAX

_WHOLE = ("updates", "sweeps", "spacing", "segment")
"""Options that are counts; a plan's parameters are floats."""
_NOTHING = Schedule((), ())


@dataclass(slots=True)
class TokenRun(SolverState):
    """What a discrete run remembers of its sample beside the tokens."""

    state: TokenState | None = None


class TokenSolver:
    """The sampler of a plan; an evaluation is a predictor's, a corrector's or the last denoising's.

    Args:
        sampler: one of `protocol.methods.SAMPLERS`: a corrector between Tweedie steps, or a predictor alone.
        parameters: options of `Settings`.
        nfe: evaluations.
        num_tokens, vocab_size: d and S.
        sigma_max: the most total noise the network knows.

    Raises:
        InvalidArgument: an unknown sampler, or an option that means nothing under it.
    """

    def __init__(
        self,
        sampler: str,
        parameters: Mapping[str, float],
        *,
        nfe: int,
        num_tokens: int,
        vocab_size: int,
        sigma_max: float,
    ) -> None:
        corrector, predictor = ("none", sampler) if sampler in PREDICTORS else (sampler, None)
        options = {name: int(value) if name in _WHOLE else value for name, value in parameters.items()}
        options.setdefault("sigma_max", min(sigma_max, DEFAULT_SIGMA_MAX))
        settings = read_settings(num_tokens, vocab_size, corrector, predictor, options)
        self._solver = DiscreteSolver(settings, nfe)

    def begin(self, seed: int, given: Sequence[int | None], device: torch.device) -> tuple[Tensor, TokenRun]:
        """A sample's first tokens (1, n), even ones with the given in their places, and its memory.

        Raises:
            InvalidArgument: what is given does not fit.
        """
        settings = self._solver.settings
        kept = read_given(list(given), 1, settings.num_tokens, settings.vocab_size).to(device)
        state = self._solver.start(row_keys([seed]).to(device), kept)
        return state.tokens, TokenRun(_NOTHING, state=state)

    def ask(self, sample: Sample) -> Point | None:
        """Where the network is wanted next: the tokens, and the total noise as timestep."""
        state = _state_of(sample)
        wanted = self._solver.ask(state)
        if wanted is None:
            return None
        return Point(wanted.tokens, wanted.sigma, wanted.sigma, self._solver.purpose(state))

    def tell(self, sample: Sample, output: Tensor) -> None:
        """Take log ratios (1, n, S).

        Raises:
            ValueError: one is not a number.
        """
        state = _state_of(sample)
        self._solver.tell(state, output.exp())
        sample.latents = state.tokens
        sample.evaluation += 1


def _state_of(sample: Sample) -> TokenState:
    assert isinstance(sample.solver, TokenRun), "a discrete run is begun by its own solver"
    assert sample.solver.state is not None, "likewise"
    return sample.solver.state
