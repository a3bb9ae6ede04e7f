"""How a budget could be spent: a draft for each allowed method, the best of which becomes the plan.

A method is a name or, where a calibration measured a stack as one, names joined by a plus. Evaluations that
run all blocks are granted whole; a router's are granted block by block, so its plans cost what they cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from protocol.calibration import CalibrationPoint
from protocol.cost import evaluations, steps_within
from protocol.depths import line
from protocol.methods import CACHES, LEARNED, PLACED, ROUTERS, SHORTER, parts
from protocol.wanted import Draft, Wanted

_SLACK = 1e-9
_TOLERATED_EXCESS = 0.02


def best_draft(wanted: Wanted, methods: Sequence[str]) -> Draft:
    """Of the methods allowed, the calibrated one that strays least; without calibration a safe default.

    A stack is allowed if all its parts are. Drafts that are not comparable are only taken where no other is
    allowed.
    """
    stacks = dict.fromkeys(point.method for point in wanted.entry.points)
    allowed = dict.fromkeys((*methods, *(name for name in stacks if set(parts(name)) <= set(methods))))
    calibrated = [draft for name in allowed if (draft := _calibrated(wanted, name)) is not None]
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
    routed = any(name in ROUTERS for name in parts(method))
    paid = wanted.flop if routed else wanted.affordable * wanted.costs.whole
    share = paid / wanted.full_flop + _SLACK
    below = max((point for point in points if point.budget <= share), key=_budget, default=None)
    if below is None or (draft := _at(wanted, below)).flop > wanted.flop:
        return None
    above = min((point for point in points if point.budget > share), key=_budget, default=None)
    line_alone = method in ROUTERS and not below.depths
    if above is None or not (line_alone or (below.dial is not None and below.dial == above.dial)):
        return draft
    way = (share - below.budget) / (above.budget - below.budget)
    return replace(
        draft,
        flop=draft.flop if routed else paid,
        parameters=_between(below, above, way),
        distance=below.distance + way * (above.distance - below.distance),
        comparable=draft.comparable and _at(wanted, above).comparable,
    )


def _at(wanted: Wanted, point: CalibrationPoint) -> Draft:
    routed = any(name in ROUTERS for name in parts(point.method))
    draft = _routed(wanted, point) if routed else _whole(wanted, point)
    return replace(
        draft,
        methods=parts(point.method),
        calibration=wanted.entry.calibration,
        parameters=point.parameters,
        nodes=point.nodes,
        distance=point.distance,
        comparable=point.spent <= point.budget + _TOLERATED_EXCESS
        and not (point.dial is not None and wanted.mode == "hard"),
    )


def _whole(wanted: Wanted, point: CalibrationPoint) -> Draft:
    """As many evaluations of all blocks as the point was granted."""
    solver = _solver(wanted, point.method)
    granted = round(point.budget * wanted.full_flop / wanted.costs.whole)
    steps = steps_within(solver, granted) if point.method in SHORTER else wanted.steps
    return Draft((), steps, solver, granted * wanted.costs.whole)


def _routed(wanted: Wanted, point: CalibrationPoint) -> Draft:
    """The point's depths at what they cost here; of a router alone, the line as high as the budget pays.

    Beside a cache only the evaluations at the point's nodes run. Where it names none, its cache chooses, and
    the grant is what the point's was.
    """
    names = parts(point.method)
    fewer = next((name for name in names if name in SHORTER), None)
    steps = len(point.depths or point.nodes) if fewer else wanted.steps
    cached = any(name in CACHES for name in names)
    sigmas = wanted.sigmas(nodes=point.nodes) if fewer and point.nodes else wanted.sigmas(steps)
    depths = point.depths or (line(sigmas, wanted.span) if cached else wanted.fitted(sigmas))
    flop = wanted.cost_of(depths)
    if cached and point.nodes:
        flop = wanted.cost_of([depths[node] for node in point.nodes])
    elif cached:
        flop = min(wanted.flop, int((point.budget + _SLACK) * wanted.full_flop))
    return Draft((), steps, _solver(wanted, fewer or ""), flop, depths=depths)


def _default(wanted: Wanted, methods: Sequence[str]) -> Draft:
    """The learned router, or fewer steps where they are allowed, else the first method named."""
    shorter = [name for name in SHORTER if name in methods]
    routers = [LEARNED] if LEARNED in methods else [name for name in methods if name in ROUTERS]
    if LEARNED in methods or not wanted.affordable:
        return _default_routed(wanted, routers[0], methods)
    if shorter:
        solver = _solver(wanted, shorter[0])
        steps = steps_within(solver, wanted.affordable)
        return Draft((shorter[0],), steps, solver, evaluations(solver, steps) * wanted.costs.whole)
    name = next(name for name in methods if name in CACHES or name in ROUTERS)
    if name in ROUTERS:
        return _default_routed(wanted, name, methods)
    nodes = even_nodes(wanted.affordable, wanted.steps) if name in PLACED else ()
    return Draft(
        (name,), wanted.steps, wanted.entry.solver, wanted.affordable * wanted.costs.whole, nodes=nodes
    )


def _default_routed(wanted: Wanted, router: str, methods: Sequence[str]) -> Draft:
    """The line over all steps; below its floor fewer evaluations of it, where a method allows them.

    Where none does, all evaluations run, shallower than the router was trained for.
    """
    count = max(1, wanted.flop // wanted.costs.at(wanted.span.floor))
    others = [name for name in (*SHORTER, *methods) if name in methods and name not in ROUTERS]
    if count >= wanted.unabridged or not others:
        depths = wanted.fitted(wanted.sigmas())
        return Draft((router,), wanted.steps, wanted.entry.solver, wanted.cost_of(depths), depths=depths)
    if others[0] in SHORTER:
        solver, depths = _solver(wanted, others[0]), wanted.fitted(wanted.sigmas(count))
        return Draft((router, others[0]), count, solver, wanted.cost_of(depths), depths=depths)
    return _default_cached(wanted, router, others[0], count)


def _default_cached(wanted: Wanted, router: str, cache: str, count: int) -> Draft:
    """`count` routed evaluations, the cache's answers between them.

    A placed cache runs the line at its nodes. Any other chooses its own places, so all are as deep.
    """
    nodes = even_nodes(count, wanted.steps)
    fitted = wanted.fitted(wanted.sigmas(nodes=nodes))
    flop = wanted.cost_of(fitted)
    if cache in PLACED:
        at_nodes = dict(zip(nodes, fitted, strict=True))
        depths = tuple(at_nodes.get(place, min(fitted)) for place in range(wanted.steps))
    else:
        depths, nodes = (min(fitted),) * wanted.steps, ()
        flop = count * wanted.costs.at(min(fitted))
    return Draft((router, cache), wanted.steps, wanted.entry.solver, flop, nodes=nodes, depths=depths)


def _solver(wanted: Wanted, method: str) -> str:
    return method if method in SHORTER and method != "steps" else wanted.entry.solver


def _budget(point: CalibrationPoint) -> float:
    return point.budget


def _between(below: CalibrationPoint, above: CalibrationPoint, way: float) -> dict[str, float]:
    """The parameters between two points: only a dial that both have moves."""
    if below.dial is None or below.dial != above.dial:
        return below.parameters
    first, second = below.parameters[below.dial], above.parameters[below.dial]
    return {**below.parameters, below.dial: first + way * (second - first)}
