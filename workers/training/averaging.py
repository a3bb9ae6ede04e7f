"""What the jointly trained denoisers share: weights, their running average, this rank's optimisers."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from workers.training.settings import DenoiserSettings

Network = TypeVar("Network", bound=nn.Module)


class Stepping(Protocol):
    """This rank's optimisers."""

    def step(self, index: int) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class AveragedTrainee(Generic[Network]):
    """The state of a denoiser in training; a subclass adds the step."""

    def __init__(self, settings: DenoiserSettings, model: Network, optimisers: Stepping) -> None:
        self.settings, self.num_steps = settings, settings.num_steps
        self.model, self.optimisers = model, optimisers
        self.average = {name: value.detach().clone() for name, value in self.weights().items()}

    def weights(self) -> dict[str, Tensor]:
        """The model's own tensors, as they are in training."""
        return dict(self.model.state_dict())

    def average_weights(self, index: int) -> None:
        """Exponential average, faster at the beginning so that the start is soon forgotten."""
        decay = min(self.settings.ema_decay, (1 + index) / (10 + index))
        torch._foreach_lerp_(list(self.average.values()), list(self.weights().values()), 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Weights, their average, and this rank's optimisers."""
        return {
            "model": self.weights(),
            "average": self.average,
            "optimisers": self.optimisers.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimisers.load_state_dict(state["optimisers"])
