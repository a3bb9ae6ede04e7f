"""What a checkpoint's student of few steps would do for a request, and what it would cost."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.catalog import CatalogEntry, FewSteps
from protocol.cost import evaluations, own_cost
from protocol.jobs import GenerationRequest
from protocol.methods import FEW_STEP
from protocol.resolve import lanes


@dataclass(frozen=True)
class StudentRun:
    """The student's one run: `flop` of one sample, and how far it was measured to stray; None: it was not."""

    few: FewSteps
    flop: int
    distance: float | None


def student_run(request: GenerationRequest, entry: CatalogEntry) -> StudentRun | None:
    """The student's run for a resolved request; None where there is no student for it.

    A request of two lanes has none: it was distilled from a teacher of one.
    """
    few, given = entry.few_steps, request.input
    if few is None or lanes(request, entry) > 1:
        return None
    assert given.width is not None, "resolve() fills the size"
    assert given.height is not None, "resolve() fills the size"
    row = own_cost(few.shapes, width=given.width, height=given.height, num_frames=given.num_frames)
    measured = [
        point.distance
        for point in entry.points
        if point.method == FEW_STEP
        and point.steps == given.num_inference_steps
        and point.mode in (None, request.compute_budget.mode)
    ]
    flop = evaluations(few.solver, few.num_inference_steps) * row.evaluation
    return StudentRun(few, flop, min(measured, default=None))
