"""Moves that lower the noise: predictor steps and the final denoising."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from workers.sampling.discrete import predictors
from workers.sampling.discrete.state import Move, TokenState


@dataclass(frozen=True, slots=True)
class Predict:
    """A step of a predictor of one call."""

    sigma: float
    width: float
    predictor: str
    leaves_ratios: ClassVar[bool] = False

    def apply(self, state: TokenState, ratios: Tensor) -> None:
        state.redraw(predictors.weights(self.predictor, ratios, state.tokens, self.width), "predict")


@dataclass(frozen=True, slots=True)
class FirstStage:
    """theta-trapezoidal, to the middle: leap there, and keep the rates of the start."""

    sigma: float
    width: float
    theta: float
    leaves_ratios: ClassVar[bool] = False

    def apply(self, state: TokenState, ratios: Tensor) -> None:
        rates = predictors.reverse_rates(ratios, state.tokens)
        state.memory["rates"] = rates
        state.redraw(predictors.first_jump(rates, state.tokens, self.theta * self.width), "predict")


@dataclass(frozen=True, slots=True)
class SecondStage:
    """theta-trapezoidal, from the middle on, with rates extrapolated over the start's."""

    sigma: float
    width: float
    theta: float
    leaves_ratios: ClassVar[bool] = False

    def apply(self, state: TokenState, ratios: Tensor) -> None:
        now = predictors.reverse_rates(ratios, state.tokens)
        first = state.memory.pop("rates")
        rates = predictors.trapezoidal_rates(first, now, state.tokens, self.theta)
        rest = (1 - self.theta) * self.width
        state.redraw(predictors.first_jump(rates, state.tokens, rest), "predict")


@dataclass(frozen=True, slots=True)
class Denoise:
    """The last step to no noise: Tweedie's, the same for all methods."""

    sigma: float
    leaves_ratios: ClassVar[bool] = False

    def apply(self, state: TokenState, ratios: Tensor) -> None:
        state.redraw(predictors.tweedie(ratios, state.tokens, self.sigma), "denoise")


def step(predictor: str, sigma: float, width: float, theta: float) -> tuple[Move, ...]:
    """The moves of one predictor step from `sigma`."""
    if predictor == "theta-trapezoidal":
        middle = sigma - theta * width
        return FirstStage(sigma, width, theta), SecondStage(middle, width, theta)
    return (Predict(sigma, width, predictor),)
