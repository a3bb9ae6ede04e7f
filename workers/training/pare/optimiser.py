"""The student's optimiser and its router's, with gradients for whatever no row of a rank has touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from workers.training.optimisers import Optimisers, average_gradients, rate_share
from workers.training.pare.settings import StageSettings
from workers.training.pare.sharding import local, sharded_like
from workers.training.video.muon import FloatMuon


class Adam:
    """AdamW on the schedule of the stage; weights that are sharded over ranks and whole ones apart."""

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float, settings: StageSettings) -> None:
        self.rate, self.settings = rate, settings
        sharded = [each for each in parameters if isinstance(each, DTensor)]
        self.whole = [each for each in parameters if not isinstance(each, DTensor)]
        self.groups = [group for group in (sharded, self.whole) if group]
        named = [{"params": group} for group in self.groups]
        self.adam = torch.optim.AdamW(named, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)

    def step(self, index: int) -> None:
        """Average what is not sharded, clip, update, clear."""
        average_gradients(self.whole, self.settings.ranks)
        for group in self.groups:
            nn.utils.clip_grad_norm_(group, 1.0)
        for options in self.adam.param_groups:
            options["lr"] = rate_share(index, self.settings) * self.rate
        self.adam.step()
        self.adam.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Moments; of sharded weights this rank's part."""
        state: dict[str, Any] = local(self.adam.state_dict())
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same rank."""
        self.adam.load_state_dict(state)
        for parameter, moments in self.adam.state.items():
            for name, value in moments.items():
                moments[name] = sharded_like(parameter, value)


class StudentOptimisers:
    """Muon and AdamW for the transformer (AdamW alone at a `muon_rate` of 0), AdamW for the router."""

    def __init__(self, model: nn.Module, settings: StageSettings, rank: int) -> None:
        """`model` has a `transformer` and may have a `router`."""
        transformer = model.get_submodule("transformer")
        self.parameters = [each for each in model.parameters() if each.requires_grad]
        self.parts: dict[str, Optimisers | Adam] = {}
        if settings.muon_rate:
            alone = nn.ModuleDict({"transformer": transformer})
            self.parts["transformer"] = Optimisers(alone, settings, rank, FloatMuon)
        else:
            self.parts["transformer"] = Adam(list(transformer.parameters()), settings.adam_rate, settings)
        named = model.named_parameters()
        router = [each for name, each in named if name.startswith("router.") and each.requires_grad]
        if router:
            self.parts["router"] = Adam(router, settings.router_rate, settings)

    def step(self, index: int) -> None:
        """One step of all; ranks that skipped different blocks still exchange equal lists of gradients."""
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for part in self.parts.values():
            part.step(index)

    def state_dict(self) -> dict[str, Any]:
        """Momenta of this rank."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same rank."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
