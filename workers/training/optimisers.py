"""Muon for the blocks' matrices, AdamW for everything else, gradients averaged over ranks.

Orthogonalising the matrices costs as much as a fifth of a step, so each rank does it for its share of them
and sends the new values to the others; the ranks' weights stay equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from workers.training.settings import DenoiserSettings

_MODULATIONS = ("norm", "adaLN")
"""In the names of modulations' matrices."""


class Optimisers:
    """Both optimisers of one rank, and the schedule of their rates."""

    def __init__(
        self,
        model: nn.Module,
        settings: DenoiserSettings,
        rank: int = 0,
        muon: type[torch.optim.Muon] = torch.optim.Muon,
    ) -> None:
        """`model` has a `transformer`; `muon` is the rule for its blocks' matrices."""
        self.settings, self.rank = settings, rank
        self.parameters = list(model.parameters())
        self.shares = split_evenly(hidden_matrices(model), settings.ranks)
        hidden = {id(matrix) for share in self.shares for matrix in share}
        others = [parameter for parameter in self.parameters if id(parameter) not in hidden]
        self.muon = muon(
            self.shares[rank], lr=settings.muon_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        )
        self.adam = torch.optim.AdamW(
            others, lr=settings.adam_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )

    def step(self, index: int) -> None:
        """Average the gradients, update, share the matrices, clear the gradients."""
        average_gradients(self.parameters, self.settings.ranks)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        share = rate_share(index, self.settings)
        self.muon.param_groups[0]["lr"] = share * self.settings.muon_rate
        self.adam.param_groups[0]["lr"] = share * self.settings.adam_rate
        self.muon.step()  # type: ignore[no-untyped-call]
        self.adam.step()
        self._share_matrices()
        for parameter in self.parameters:
            parameter.grad = None

    def _share_matrices(self) -> None:
        if self.settings.ranks == 1:
            return
        for owner, matrices in enumerate(self.shares):
            flat = torch.cat([matrix.detach().flatten() for matrix in matrices])
            distributed.broadcast(flat, src=owner)
            if owner != self.rank:
                _copy_flat(flat, [matrix.detach() for matrix in matrices])

    def state_dict(self) -> dict[str, Any]:
        """Momenta of this rank."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same rank."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def average_gradients(parameters: Sequence[nn.Parameter], ranks: int) -> None:
    """Give every rank the mean of all ranks' gradients."""
    if ranks == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= ranks
    _copy_flat(flat, gradients)


@torch.no_grad()
def limit_outliers(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Shorten every gradient that is more than `factor` times as long as AdamW remembers it to be.

    AdamW divides by what it remembers, so one outlier moves a tensor for many steps; a limit on the length of
    all gradients together does not hold back a single tensor's.
    """
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            state = optimiser.state.get(parameter, {})
            if parameter.grad is None or "exp_avg_sq" not in state:
                continue
            seen = 1 - group["betas"][1] ** state["step"]
            longest = factor * (state["exp_avg_sq"].sum() / seen).sqrt()
            length = parameter.grad.norm()
            if length > longest > 0:
                parameter.grad.mul_(longest / length)


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The matrices between hidden widths in the transformer's blocks; modulations are not among them."""
    return [
        parameter
        for name, parameter in model.get_submodule("transformer").named_parameters()
        if parameter.ndim == 2 and "blocks." in name and not any(word in name for word in _MODULATIONS)
    ]


def split_evenly(matrices: list[nn.Parameter], parts: int) -> list[list[nn.Parameter]]:
    """Deal the matrices out, largest first, always to the part that has least."""
    shares: list[list[nn.Parameter]] = [[] for _ in range(parts)]
    for matrix in sorted(matrices, key=lambda each: -each.numel()):
        min(shares, key=lambda share: sum(each.numel() for each in share)).append(matrix)
    return shares


def rate_share(index: int, settings: DenoiserSettings) -> float:
    """The share of the full rate at a step: linear warm-up, plateau, linear decay to zero."""
    rising = (index + 1) / settings.warmup_steps
    falling = (settings.num_steps - index) / settings.decay_steps
    return max(0.0, min(1.0, rising, falling))


def _copy_flat(flat: Tensor, parts: list[Tensor]) -> None:
    for part, values in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
        part.copy_(values.view_as(part))
