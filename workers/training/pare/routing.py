"""How blocks are chosen: by the router, by a control's rule, and the gate that lets the router learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.core import Batch, condition_features
from workers.core.pare_router import DepthRouter, depth, top_blocks
from workers.training.pare.forward import Routes
from workers.training.pare.settings import RouterKind


@dataclass(frozen=True)
class Chooser:
    """Chooses blocks for a batch.

    Attributes:
        kind: the rule; `static` asks the router too, which then sees nothing.
        num_blocks: N.
        least, most: K_min and K_max.
        router: None for `random` and `none`.
    """

    kind: RouterKind
    num_blocks: int
    least: float
    most: float
    router: DepthRouter | None = None

    def logits(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """(R, N); dice for `random`."""
        if self.router is None:
            dice = torch.randn(len(batch.latents), self.num_blocks, generator=generator)
            return dice.to(batch.latents.device)
        text = condition_features(batch.condition) if self.router.text_channels else None
        logits: Tensor = self.router(batch.timestep, batch.latents, text)
        return logits

    def routes(
        self,
        batch: Batch,
        generator: torch.Generator,
        *,
        levels: Tensor | None = None,
        probed_share: float = 0.0,
    ) -> Routes | None:
        """Routes of a batch; None: all blocks. The gate carries a gradient where the router learns.

        Args:
            generator: of dice and probes.
            levels: (R,) noise levels that K follows; None: the timestep's.
            probed_share: how often one block is evaluated for the rows that skip it as well.
        """
        if self.kind == "none":
            return None
        logits = self.logits(batch, generator)
        levels = batch.timestep / 1000 if levels is None else levels
        mask = top_blocks(logits, [depth(level, self.least, self.most) for level in levels.tolist()])
        if self.router is None or self.kind == "static":
            return Routes(mask, None)
        run = _probed(mask, generator) if probe(probed_share, generator) else mask
        return Routes(run, straight_through(mask, logits))


def straight_through(mask: Tensor, logits: Tensor) -> Tensor:
    """The mask itself, with the gradient of sigmoid(logits) (equations 10 and 11)."""
    soft = torch.sigmoid(logits)
    # Their difference is taken first: 1 + s - s is not always 1 in float32.
    return mask.to(soft.dtype) + (soft - soft.detach())


def probe(share: float, generator: torch.Generator) -> bool:
    """A die that falls so often."""
    return bool(torch.rand((), generator=generator) < share)


def _probed(mask: Tensor, generator: torch.Generator) -> Tensor:
    """The mask, and one of the blocks that are skipped for those who skip it."""
    skipped = (~mask).any(dim=0).nonzero().flatten()
    if not len(skipped):
        return mask
    place = skipped[torch.randint(len(skipped), (), generator=generator)]
    run = mask.clone()
    run[:, place] = True
    return run
