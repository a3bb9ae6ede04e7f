"""The planner: from a budget to a plan, from shapes and the calibration alone, shared by quotes and runs.

A calibrated model offers, for every method, points on the dial: what it runs under at a budget and how far it
then strays. The planner takes the method that strays least of those that are allowed, at the budget or the
next point below it; a method whose points differ in one number only is set between them. Without calibration
a budget below 1 buys fewer solver steps, or the named method under its defaults.

A PARE student is charged against the unpruned model: its own run of K_max blocks an evaluation is what it is
granted at budget 1, and all its blocks run where the methods leave out `pare`.

A student of few steps has one run, at one cost: it competes where that is paid.

Of a discrete model a step is an evaluation, and the methods are its samplers: a budget buys as many
evaluations as it pays, under the sampler that was measured to stray least there; without calibration under
the model's own, or under one that is named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from protocol.budget import ComputeBudget
from protocol.catalog import CatalogEntry
from protocol.cost import Price, denoiser_cost, evaluations, own_cost, price
from protocol.drafts import best_draft
from protocol.errors import BudgetTooSmall, InvalidRequest
from protocol.extent import extent_of
from protocol.jobs import GenerationRequest
from protocol.methods import DROPS, FEW_STEP, VARIANTS
from protocol.receipts import FLOP_PER_MFLOP
from protocol.resolve import lanes
from protocol.students import better, student_of
from protocol.wanted import Costs, Draft, Wanted

SOFT_ALLOWANCE = 0.1
"""A soft run may end this share of full compute above its grant, when its method sees risk."""
_SLACK = 1e-9
"""Keeps 0.35 * 20 from flooring to 6."""


class Plan(BaseModel):
    """How one sample will run: `granted_flop` is the plan's own cost, `full_flop` the unabridged run's.

    `parameters` are what its method runs under. `nodes` are places among the evaluations of the unabridged
    run: where a static schedule is full, or, with fewer steps, the noise levels these steps stand at (empty:
    the shorter run's own levels). `depths` are the blocks that a router lets each evaluation run, if it runs
    (empty: there is no router). `calibration` names where all this comes from, None: defaults;
    `expected_distance` is what the calibration measured there. `lora` works on top of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[str, ...]
    num_inference_steps: int
    solver: str
    granted_flop: int
    full_flop: int
    mode: Literal["soft", "hard"] = "soft"
    parameters: dict[str, float] = Field(default_factory=dict)
    nodes: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    calibration: str | None = None
    expected_distance: float | None = None
    lora: str | None = None

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations of one sample, forecasts included."""
        return evaluations(self.solver, self.num_inference_steps)

    @property
    def variant(self) -> str | None:
        """The method whose weights it runs on; None: the checkpoint's own."""
        return next((name for name in self.methods if name in VARIANTS), None)

    @property
    def fewer_steps(self) -> bool:
        """Whether its steps stand at nodes of the unabridged run; else nodes are for a cache."""
        return len(self.nodes) == self.num_inference_steps

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
        BudgetTooSmall: even the cheapest run costs more, or no allowed method can save anything.
        InvalidRequest: `floor` is above the ceiling; only here is a ceiling in TFLOPs known as a share.
    """
    entry = entry.offered(request.input.lora)
    cost = price(entry, request)
    ceiling = _ceiling(request.compute_budget, cost.full_flop)
    wanted = _wanted(request, entry, cost, ceiling if share is None else share)
    methods = allowed_methods(entry, request.compute_budget.methods)
    others = tuple(name for name in methods if name not in VARIANTS)
    student, least = student_of(request.input, wanted, methods), wanted.costs.least(wanted.unabridged, others)
    own = None
    if wanted.flop >= least:
        own = wanted.unabridged_draft(others) or best_draft(wanted, others)
    draft = better(own, student.draft if student else None, wanted.affordable)
    if draft is None:
        least = min(least, student.least) if student else least
        raise _too_small(least / wanted.full_flop, cost.full_flop)
    return _plan(draft, wanted, request.input.lora)


def student_plan(request: GenerationRequest, entry: CatalogEntry) -> Plan | None:
    """The run of the student of few steps; None: there is none that saves this resolved request anything."""
    wanted = everything(request, entry)
    student = student_of(request.input, wanted, (FEW_STEP,))
    draft = student.draft if student else None
    return None if draft is None else _plan(draft, wanted)


def everything(request: GenerationRequest, entry: CatalogEntry) -> Wanted:
    """What a plan for this resolved request is made from when all of full compute may be spent."""
    return _wanted(request, entry, price(entry, request), 1.0)


def _plan(draft: Draft, wanted: Wanted, lora: str | None = None) -> Plan:
    return Plan(
        methods=draft.methods,
        num_inference_steps=draft.steps,
        solver=draft.solver,
        granted_flop=draft.flop,
        full_flop=wanted.full_flop,
        mode=wanted.mode,
        parameters=draft.parameters,
        nodes=draft.nodes,
        depths=draft.depths,
        calibration=draft.calibration,
        expected_distance=draft.distance,
        lora=lora,
    )


def allowed_methods(entry: CatalogEntry, named: Sequence[str] | None) -> tuple[str, ...]:
    """What a plan may use: the methods named, or all the model offers but for blind dropping of blocks."""
    if named is not None:
        return tuple(named)
    return tuple(name for name in entry.methods if name not in DROPS)


def min_budget(entry: CatalogEntry) -> float:
    """The least budget the model takes where a request is silent, as `askable`."""
    at = entry.defaults
    count = evaluations(entry.solver, at.num_inference_steps)
    own, unpruned = (cost(entry.shapes, **extent_of(at)) for cost in (own_cost, denoiser_cost))
    return askable(Costs(own, 1).least(count, allowed_methods(entry, None)) / (count * unpruned.evaluation))


def askable(share: float) -> float:
    """The least budget of four decimals that buys `share`: rounded up, so that asking for it succeeds."""
    return math.ceil(share * 1e4) / 1e4


def _wanted(request: GenerationRequest, entry: CatalogEntry, cost: Price, share: float) -> Wanted:
    """The budget in FLOP of one sample, beside what its evaluations cost."""
    given, step = request.input, cost.per_step_flop[0]
    assert given.num_inference_steps is not None, "resolve() fills the steps"
    own = own_cost(entry.shapes, **extent_of(given))
    unabridged = len(cost.per_step_flop)
    return Wanted(
        entry=entry,
        steps=given.num_inference_steps,
        unabridged=unabridged,
        full_flop=unabridged * step,
        flop=int((min(1.0, share) * unabridged + _SLACK) * step),
        mode=request.compute_budget.mode,
        costs=Costs(own, lanes(request, entry)),
    )


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
