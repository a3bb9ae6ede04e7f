"""PARE's routing: the plan's number of blocks, picked by a router that sees noise level and latents.

One decision a sample and evaluation, from what both lanes share and the conditional lane's prompt. Ours is
`adaptivity`: the number itself follows the input, under the same account that a cache is held to.

Source: Wang et al. 2026 (PARE, arXiv:2605.27336), eqs. 8 to 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from protocol.calibration import Calibration
from protocol.depths import LEAST_DEPTH, round_half_up
from protocol.plan import Plan
from workers.acceleration.anchored import MethodConfig
from workers.acceleration.routed import PlannedRouter
from workers.core import Layout, Point, Row, Sample, condition_features
from workers.core.pare_router import DepthRouter, top_blocks

_TABLE = "pare"


class PareConfig(MethodConfig):
    """How far the number of blocks follows the input.

    Args:
        adaptivity: 0: the plan's depths exactly. 1: as many blocks as have a logit at or above the threshold
            that, in the calibration's mean, is the plan's depth. Between them in proportion. Default 0.
    """

    adaptivity: float = Field(0.0, ge=0.0, le=1.0)


class LogitQuantiles(BaseModel):
    """What logits of the blocks between the first and the last were like on the calibration prompts.

    Args:
        sigmas: noise levels, rising.
        quantiles: a row a level, of all prompts and blocks together: the least first, the greatest last,
            evenly spaced between.

    Raises:
        ValueError: levels that do not rise, or rows that do not fit them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sigmas: tuple[float, ...] = Field(min_length=1)
    quantiles: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(after <= now for now, after in pairwise(self.sigmas)):
            raise ValueError(f"sigmas {self.sigmas} do not rise")
        if len(self.quantiles) != len(self.sigmas) or any(len(row) < 2 for row in self.quantiles):
            raise ValueError("a row of at least two quantiles a noise level is needed")
        if any(after < now for row in self.quantiles for now, after in pairwise(row)):
            raise ValueError("quantiles must not fall")
        return self

    def threshold(self, sigma: float, share: float) -> float:
        """The logit that `share` of the blocks reach at this noise level, between rows in proportion."""
        values = [_read(row, 1.0 - share) for row in self.quantiles]
        above = sum(level <= sigma for level in self.sigmas)
        if above in (0, len(self.sigmas)):
            return values[min(above, len(values) - 1)]
        low, high = self.sigmas[above - 1], self.sigmas[above]
        return values[above - 1] + (sigma - low) / (high - low) * (values[above] - values[above - 1])


class Pare(PlannedRouter[PareConfig]):
    """The blocks of the highest logits; the first and the last always.

    Raises:
        ValueError: the checkpoint has no router, or the calibration's table is not one of this method.
    """

    config_type = PareConfig

    def __init__(
        self, layout: Layout, calibration: Calibration | None = None, learned: DepthRouter | None = None
    ) -> None:
        super().__init__(layout, calibration, learned)
        if learned is None:
            raise ValueError("the checkpoint has no router of its own")
        self._learned = learned
        given = calibration.tables.get(_TABLE) if calibration else None
        self._logits = LogitQuantiles.model_validate(given) if given is not None else None

    def check(self, plan: Plan) -> None:
        super().check(plan)
        if plan.parameters.get("adaptivity") and self._logits is None:
            raise ValueError("adaptivity needs a calibration that knows the logits")

    def mask(self, rows: Sequence[Row], points: Sequence[Point]) -> Sequence[tuple[bool, ...]]:
        """A row's logits are worked out by themselves; all come to the host at once."""
        scored = [self._score(row.sample, point) for row, point in zip(rows, points, strict=True)]
        logits = torch.cat(scored).cpu()
        depths = [
            self._follow(row.sample, point.sigma, numbers)
            for row, point, numbers in zip(rows, points, logits.tolist(), strict=True)
        ]
        return [tuple(blocks) for blocks in top_blocks(logits, depths).tolist()]

    def _score(self, sample: Sample, point: Point) -> Tensor:
        """Logits (1, N)."""
        text = condition_features(sample.lanes[0].tensors) if self._learned.text_channels else None
        timestep = torch.tensor([point.timestep], device=point.latents.device)
        logits: Tensor = self._learned(timestep, point.latents, text)
        return logits

    def _follow(self, sample: Sample, sigma: float, logits: Sequence[float]) -> int:
        """The plan's depth, moved towards what the input asks for as far as the account pays."""
        planned, adaptivity = self.depth(sample), self.config(sample).adaptivity
        if self._logits is None or not adaptivity:
            return planned
        free = logits[1:-1]
        threshold = self._logits.threshold(sigma, (planned - LEAST_DEPTH) / len(free))
        asked = LEAST_DEPTH + sum(logit >= threshold for logit in free)
        wanted = round_half_up(planned + adaptivity * (asked - planned))
        return max(LEAST_DEPTH, min(wanted, self._payable(sample)))

    def _payable(self, sample: Sample) -> int:
        """The deepest that leaves every evaluation to come its planned depth.

        So one may spend what those before it saved, in soft mode the allowance too, and never what another
        was promised.
        """
        cost, lanes = self._layout.cost(sample.grid), sample.num_lanes
        later = lanes * sum(map(cost.of_depth, sample.plan.depths[sample.evaluation + 1 :]))
        left = sample.plan.cap_flop - sample.ledger.spent_flop - later
        return (left - lanes * cost.of_depth(0)) // (lanes * cost.blocks[0])


def _read(quantiles: Sequence[float], at: float) -> float:
    """The quantile at a share in [0, 1], between two on the line through them."""
    place = at * (len(quantiles) - 1)
    left = min(int(place), len(quantiles) - 2)
    return quantiles[left] + (place - left) * (quantiles[left + 1] - quantiles[left])
