"""How a budget could be spent: a draft for each allowed method, the best of which becomes the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from protocol.calibration import CalibrationPoint
from protocol.catalog import CatalogEntry
from protocol.cost import evaluations, steps_within
from protocol.methods import CACHES, FEWER_STEPS, PLACED

Mode = Literal["soft", "hard"]
_SLACK = 1e-9
_TOLERATED_EXCESS = 0.02


@dataclass(frozen=True)
class Draft:
    """A plan before it is priced; `evaluations` is what it is granted. For the rest see `protocol.plan`."""

    methods: tuple[str, ...]
    steps: int
    solver: str
    evaluations: int
    calibration: str | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    nodes: tuple[int, ...] = ()
    distance: float | None = None
    comparable: bool = True
    """Whether the distance was measured at the compute granted: not if the method spent more in the mean, nor
    if a hard run will refuse what a threshold, met in the mean, asks for."""


@dataclass(frozen=True)
class Wanted:
    """What a draft must keep to: at most `affordable` of `unabridged` evaluations of a run of `steps`."""

    entry: CatalogEntry
    steps: int
    unabridged: int
    affordable: int
    mode: Mode


def best_draft(wanted: Wanted, methods: Sequence[str]) -> Draft:
    """Of the methods allowed, the calibrated one that strays least; without calibration a safe default.

    Drafts that are not comparable are only taken where no other is allowed.
    """
    calibrated = [draft for name in methods if (draft := _calibrated(wanted, name)) is not None]
    comparable = [draft for draft in calibrated if draft.comparable]
    if calibrated:
        return min(comparable or calibrated, key=lambda draft: draft.distance or 0.0)
    return _default(wanted, methods)


def even_nodes(count: int, num_steps: int, bend: float = 1.1, last: float = 0.5) -> tuple[int, ...]:
    """`count` places among `num_steps`, from 0, spread evenly with a bend.

    Args:
        bend: above 1 early gaps are shorter than late ones: there a run's course is decided.
        last: length of the last gap, in gaps.
    """
    nodes: list[int] = []
    for place in range(count):
        node = round((num_steps - 1) * (place / (count - 1 + last)) ** bend)
        lowest = nodes[-1] + 1 if nodes else 0
        nodes.append(min(max(node, lowest), num_steps - count + place))
    return tuple(nodes)


def _calibrated(wanted: Wanted, method: str) -> Draft | None:
    """The method at its point for this budget, or set between the points around it."""
    points = [
        point
        for point in wanted.entry.points
        if point.method == method and point.steps == wanted.steps and point.mode in (None, wanted.mode)
    ]
    share = wanted.affordable / wanted.unabridged + _SLACK
    below = max((point for point in points if point.budget <= share), key=_budget, default=None)
    if below is None:
        return None
    above = min((point for point in points if point.budget > share), key=_budget, default=None)
    draft = _at(wanted, below)
    if above is None or below.dial is None or below.dial != above.dial:
        return draft
    way = (share - below.budget) / (above.budget - below.budget)
    parameters = {**below.parameters, below.dial: _between(below, above, way)}
    distance = below.distance + way * (above.distance - below.distance)
    return replace(
        draft,
        evaluations=wanted.affordable,
        parameters=parameters,
        distance=distance,
        comparable=draft.comparable and _at(wanted, above).comparable,
    )


def _at(wanted: Wanted, point: CalibrationPoint) -> Draft:
    solver, granted = _solver(wanted, point.method), round(point.budget * wanted.unabridged)
    fewer = point.method in FEWER_STEPS
    return Draft(
        methods=(point.method,),
        steps=steps_within(solver, granted) if fewer else wanted.steps,
        solver=solver,
        evaluations=granted,
        calibration=wanted.entry.calibration,
        parameters=point.parameters,
        nodes=point.nodes,
        distance=point.distance,
        comparable=point.spent <= point.budget + _TOLERATED_EXCESS
        and not (point.dial is not None and wanted.mode == "hard"),
    )


def _default(wanted: Wanted, methods: Sequence[str]) -> Draft:
    """Fewer steps where they are allowed, else the first method named, under its defaults."""
    shorter = [name for name in FEWER_STEPS if name in methods]
    if shorter:
        solver = _solver(wanted, shorter[0])
        steps = steps_within(solver, wanted.affordable)
        return Draft((shorter[0],), steps, solver, evaluations(solver, steps))
    (name, *_) = (name for name in methods if name in CACHES)
    nodes = even_nodes(wanted.affordable, wanted.steps) if name in PLACED else ()
    return Draft((name,), wanted.steps, wanted.entry.solver, wanted.affordable, nodes=nodes)


def _solver(wanted: Wanted, method: str) -> str:
    return method if method in FEWER_STEPS and method != "steps" else wanted.entry.solver


def _budget(point: CalibrationPoint) -> float:
    return point.budget


def _between(below: CalibrationPoint, above: CalibrationPoint, way: float) -> float:
    assert below.dial is not None, "asked only for methods with a dial"
    first, second = below.parameters[below.dial], above.parameters[below.dial]
    return first + way * (second - first)
