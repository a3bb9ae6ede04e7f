"""What a checkpoint's student of few steps would do for a request, and what it would cost.

Its run is that of a model of its own, of the student's shapes at the student's steps: all blocks or, where it
has a router, as many as that lets through. It is charged against the checkpoint's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from protocol.calibration import CalibrationPoint
from protocol.catalog import FewSteps
from protocol.cost import evaluations, own_cost
from protocol.depths import LEAST_DEPTH
from protocol.extent import extent_of
from protocol.jobs import GenerationInput
from protocol.methods import FEW_STEP, LEARNED, parts
from protocol.wanted import Costs, Draft, Wanted

_LEAST_FOR_A_CACHE = 5
"""Evaluations; with fewer, forecasts have too little to stand on."""


@dataclass(frozen=True)
class Student:
    """The student as a request meets it.

    Attributes:
        few: what the catalog says of it.
        asked: what the request wants of the checkpoint.
        wanted: the same budget, of the student's run.
        routed: whether its router may choose blocks.
    """

    few: FewSteps
    asked: Wanted
    wanted: Wanted
    routed: bool

    @property
    def least(self) -> int:
        """FLOP of its cheapest run."""
        costs, count = self.wanted.costs, self.wanted.unabridged
        return count * (costs.at(LEAST_DEPTH) if self.routed else costs.whole)

    @property
    def draft(self) -> Draft | None:
        """The run measured to stray least; where none was, all blocks if they are paid. None: too dear."""
        measured = [self._at(point) for point in self.asked.entry.points if self._fits(point)]
        paid = [draft for draft in measured if draft.flop <= self.wanted.flop]
        if paid:
            return min(paid, key=lambda draft: draft.distance or 0.0)
        whole = self._run((FEW_STEP,), ())
        if whole.flop <= self.wanted.flop:
            return whole
        if self.routed and self.least <= self.wanted.flop:
            return self._run((LEARNED, FEW_STEP), self._fitted())
        return None

    def _fits(self, point: CalibrationPoint) -> bool:
        names = {*parts(point.method)}
        allowed = {FEW_STEP, LEARNED} if self.routed else {FEW_STEP}
        modes = (None, self.asked.mode)
        return FEW_STEP in names <= allowed and point.steps == self.asked.steps and point.mode in modes

    def _at(self, point: CalibrationPoint) -> Draft:
        names = parts(point.method)
        depths = (point.depths or self._fitted()) if LEARNED in names else ()
        draft = self._run(names, depths)
        calibration = self.asked.entry.calibration
        return replace(draft, parameters=point.parameters, distance=point.distance, calibration=calibration)

    def _fitted(self) -> tuple[int, ...]:
        return self.wanted.fitted(self.wanted.sigmas())

    def _run(self, methods: tuple[str, ...], depths: tuple[int, ...]) -> Draft:
        costs, count = self.wanted.costs, self.wanted.unabridged
        flop = self.wanted.cost_of(depths) if depths else count * costs.whole
        return Draft(methods, self.wanted.steps, self.few.solver, flop, depths=depths)


def student_of(given: GenerationInput, wanted: Wanted, methods: Sequence[str]) -> Student | None:
    """The student for a resolved request; None where there is none, or where it is not allowed.

    A request of two lanes has none: it was distilled from a teacher of one.
    """
    few = wanted.entry.few_steps
    if few is None or FEW_STEP not in methods or wanted.costs.lanes > 1:
        return None
    own = own_cost(few.shapes, **extent_of(given))
    run = replace(
        wanted,
        entry=wanted.entry.model_copy(update={"shapes": few.shapes}),
        steps=few.num_inference_steps,
        unabridged=evaluations(few.solver, few.num_inference_steps),
        costs=Costs(own, 1),
    )
    return Student(few, wanted, run, routed=few.routed and LEARNED in methods)


def better(own: Draft | None, student: Draft | None, affordable: int) -> Draft | None:
    """The one that strays less by the calibration.

    What was measured goes before what was not. Where neither was, a student is for budgets of so few
    evaluations that they are no cache's business. The unabridged run is nobody's to replace.
    """
    if own is None or student is None:
        return own or student
    if not own.methods:
        return own
    if student.distance is None:
        return student if own.distance is None and affordable < _LEAST_FOR_A_CACHE else own
    measured = own.distance is not None and own.comparable
    return own if measured and (own.distance or 0.0) <= student.distance else student
