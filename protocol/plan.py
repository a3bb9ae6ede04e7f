"""The planner: from a budget to a plan, from shapes alone, shared by quotes and runs.

Until a model is calibrated for caching, a budget below 1 buys fewer solver steps.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from protocol.budget import ComputeBudget
from protocol.catalog import CatalogEntry
from protocol.cost import evaluations, price, steps_within
from protocol.errors import BudgetTooSmall, InvalidRequest
from protocol.jobs import GenerationRequest
from protocol.receipts import FLOP_PER_MFLOP

SOFT_ALLOWANCE = 0.1
"""A soft run may end this share of full compute above its grant, when its method sees risk."""
_SLACK = 1e-9
"""Keeps 0.35 * 20 from flooring to 6."""


class Plan(BaseModel):
    """How one sample will run: `granted_flop` is the plan's own cost, `full_flop` the unabridged run's.

    `parameters` are what its method runs under.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[str, ...]
    num_inference_steps: int
    solver: str
    granted_flop: int
    full_flop: int
    mode: Literal["soft", "hard"] = "soft"
    parameters: dict[str, float] = Field(default_factory=dict)
    calibration: str | None = None

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations of one sample."""
        return evaluations(self.solver, self.num_inference_steps)

    @property
    def cap_flop(self) -> int:
        """What the run may spend at most: its grant, and in soft mode the allowance on top."""
        if self.mode == "hard":
            return self.granted_flop
        return min(self.full_flop, self.granted_flop + int(SOFT_ALLOWANCE * self.full_flop))

    @property
    def granted(self) -> float:
        """The plan's cost as a share of full compute."""
        return self.granted_flop / self.full_flop


def make_plan(request: GenerationRequest, entry: CatalogEntry, *, share: float | None = None) -> Plan:
    """The best plan that costs at most the budget.

    Args:
        request: resolved against `entry`.
        entry: the model.
        share: overrides the request's own ceiling, as a share of full compute (a grant lowered under load).

    Raises:
        BudgetTooSmall: even one evaluation costs more, or the allowed methods cannot save anything.
        InvalidRequest: `floor` is above the ceiling; only here is a ceiling in TFLOPs known as a share.
    """
    cost = price(entry, request)
    ceiling = _ceiling(request.compute_budget, cost.full_flop)
    wanted = ceiling if share is None else share
    all_evaluations = len(cost.per_step_flop)
    affordable = all_evaluations if wanted >= 1.0 else math.floor(wanted * all_evaluations + _SLACK)
    methods = request.compute_budget.methods
    may_drop_steps = "steps" in (entry.methods if methods is None else methods)
    least = least_share(all_evaluations, may_drop_steps=may_drop_steps)
    if affordable < round(least * all_evaluations):
        raise _too_small(least, cost.full_flop)
    steps = steps_within(entry.solver, affordable)
    kept = evaluations(entry.solver, steps)
    return Plan(
        methods=() if kept == all_evaluations else ("steps",),
        num_inference_steps=steps,
        solver=entry.solver,
        granted_flop=sum(cost.per_step_flop[:kept]),
        full_flop=sum(cost.per_step_flop),
        mode=request.compute_budget.mode,
        calibration=entry.calibration,
    )


def least_share(all_evaluations: int, *, may_drop_steps: bool) -> float:
    """What the cheapest plan costs, as a share of full compute: one evaluation, or all of them."""
    return 1 / all_evaluations if may_drop_steps else 1.0


def askable(share: float) -> float:
    """The least budget of four decimals that buys `share`: rounded up, so that asking for it succeeds."""
    return math.ceil(share * 1e4) / 1e4


def _ceiling(budget: ComputeBudget, full_flop: int) -> float:
    ceiling = budget.share_of(full_flop / FLOP_PER_MFLOP)
    if budget.floor is not None and budget.floor > ceiling:
        raise InvalidRequest(
            f"floor must not be above the ceiling ({ceiling:.6g} of full compute)",
            param="compute_budget.floor",
            details={"allowed": {"max": ceiling}},
        )
    return ceiling


def _too_small(min_fraction: float, full_flop: int) -> BudgetTooSmall:
    fraction = askable(min_fraction)
    min_tflops = min_fraction * full_flop / 1e12
    return BudgetTooSmall(
        f"the cheapest plan costs {fraction:g} of full compute ({min_tflops:.6g} TFLOPs)",
        param="compute_budget",
        details={"min_fraction": fraction, "min_tflops": min_tflops},
    )
