"""The planner: from a budget to a plan, from shapes and the calibration alone, shared by quotes and runs.

A calibrated model offers, for every method, points on the dial: what it runs under at a budget and how far it
then strays. The planner takes the method that strays least of those that are allowed, at the budget or the
next point below it; a method whose points differ in one number only is set between them. Without calibration
a budget below 1 buys fewer solver steps, or the named method under its defaults.

A student of few steps has one run, at one cost: it competes where that is paid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from protocol.budget import ComputeBudget
from protocol.catalog import CatalogEntry
from protocol.cost import Price, evaluations, price
from protocol.drafts import Draft, Wanted, best_draft
from protocol.errors import BudgetTooSmall, InvalidRequest
from protocol.jobs import GenerationRequest
from protocol.methods import FEW_STEP, VARIANTS
from protocol.receipts import FLOP_PER_MFLOP
from protocol.students import student_run

SOFT_ALLOWANCE = 0.1
"""A soft run may end this share of full compute above its grant, when its method sees risk."""
_SLACK = 1e-9
"""Keeps 0.35 * 20 from flooring to 6."""
_LEAST_FOR_A_CACHE = 5
"""Evaluations; with fewer, forecasts have too little to stand on."""


class Plan(BaseModel):
    """How one sample will run: `granted_flop` is the plan's own cost, `full_flop` the unabridged run's.

    `parameters` are what its method runs under. `nodes` are places among the evaluations of the unabridged
    run: where a static schedule is full, or, with fewer steps, the noise levels these steps stand at (empty:
    the shorter run's own levels). `calibration` names where all this comes from, None: defaults;
    `expected_distance` is what the calibration measured there.
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
    calibration: str | None = None
    expected_distance: float | None = None

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
        BudgetTooSmall: even one evaluation costs more, or no allowed method can save anything.
        InvalidRequest: `floor` is above the ceiling; only here is a ceiling in TFLOPs known as a share.
    """
    cost = price(entry, request)
    ceiling = _ceiling(request.compute_budget, cost.full_flop)
    wanted = ceiling if share is None else share
    unabridged = len(cost.per_step_flop)
    affordable = unabridged if wanted >= 1.0 else math.floor(wanted * unabridged + _SLACK)
    methods = allowed_methods(entry, request.compute_budget.methods)
    others = tuple(name for name in methods if name not in VARIANTS)
    student = student_plan(request, entry) if FEW_STEP in methods else None
    least = least_share(unabridged, others)
    if affordable >= round(least * unabridged):
        own = _own_plan(request, entry, cost, affordable, others)
        paid = student is not None and student.granted <= wanted + _SLACK
        return student if student and paid and _strays_less(student, own, affordable) else own
    if student is None or student.granted > wanted + _SLACK:
        raise _too_small(min(least, student.granted if student else 1.0), cost.full_flop)
    return student


def _own_plan(
    request: GenerationRequest, entry: CatalogEntry, cost: Price, affordable: int, methods: Sequence[str]
) -> Plan:
    """On the checkpoint's own weights, so many evaluations at most."""
    steps, unabridged = request.input.num_inference_steps, len(cost.per_step_flop)
    assert steps is not None, "resolve() fills the steps"
    draft = Draft((), steps, entry.solver, unabridged, entry.calibration)
    if affordable < unabridged:
        draft = best_draft(Wanted(entry, steps, unabridged, affordable, request.compute_budget.mode), methods)
    return Plan(
        methods=draft.methods,
        num_inference_steps=draft.steps,
        solver=draft.solver,
        granted_flop=draft.evaluations * cost.per_step_flop[0],
        full_flop=sum(cost.per_step_flop),
        mode=request.compute_budget.mode,
        parameters=draft.parameters,
        nodes=draft.nodes,
        calibration=draft.calibration,
        expected_distance=draft.distance,
    )


def student_plan(request: GenerationRequest, entry: CatalogEntry) -> Plan | None:
    """The one run of the student of few steps; None where there is none for this resolved request."""
    run = student_run(request, entry)
    if run is None:
        return None
    return Plan(
        methods=(FEW_STEP,),
        num_inference_steps=run.few.num_inference_steps,
        solver=run.few.solver,
        granted_flop=run.flop,
        full_flop=sum(price(entry, request).per_step_flop),
        mode=request.compute_budget.mode,
        calibration=entry.calibration if run.distance is not None else None,
        expected_distance=run.distance,
    )


def _strays_less(student: Plan, own: Plan, affordable: int) -> bool:
    """By the calibration; without one a student is taken where so few evaluations are no cache's business."""
    if not own.methods:
        return False
    if student.expected_distance is not None:
        return own.expected_distance is None or student.expected_distance < own.expected_distance
    return own.expected_distance is None and affordable < _LEAST_FOR_A_CACHE


def allowed_methods(entry: CatalogEntry, named: Sequence[str] | None) -> tuple[str, ...]:
    """What a plan may use: the methods named, or all the model offers."""
    return tuple(entry.methods if named is None else named)


def least_share(unabridged: int, methods: Sequence[str]) -> float:
    """What the cheapest plan costs, as a share of full compute: one evaluation, or all of them."""
    return 1 / unabridged if methods else 1.0


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
