"""What a plan is made from: what may be spent, what evaluations cost, and a draft of how to spend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from protocol.catalog import CatalogEntry
from protocol.cost import DenoiserCost
from protocol.depths import LEAST_DEPTH, Span, fitted, span_of
from protocol.methods import CACHES, LEARNED, ROUTERS, SAMPLERS, SHORTER
from protocol.sigmas import flow_sigmas

Mode = Literal["soft", "hard"]


@dataclass(frozen=True)
class Costs:
    """What evaluations of one sample cost on the network as it is; `own` is a row's, of `lanes` rows."""

    own: DenoiserCost
    lanes: int

    def at(self, depth: int) -> int:
        """FLOP of an evaluation that runs so many blocks, all lanes."""
        return self.lanes * self.own.of_depth(depth)

    @property
    def whole(self) -> int:
        """FLOP of an evaluation that runs all of them."""
        return self.lanes * self.own.evaluation

    def least(self, evaluations: int, methods: Sequence[str]) -> int:
        """FLOP of the cheapest run these methods allow: one evaluation, or all, as shallow as may be."""
        shallow = self.at(LEAST_DEPTH) if any(name in ROUTERS for name in methods) else self.whole
        once = any(name in SHORTER or name in CACHES for name in methods)
        return shallow if once else evaluations * shallow


@dataclass(frozen=True)
class Draft:
    """A plan before it is granted: `flop` is what it costs. For the rest see `protocol.plan`."""

    methods: tuple[str, ...]
    steps: int
    solver: str
    flop: int
    calibration: str | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    nodes: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    distance: float | None = None
    comparable: bool = True
    """Whether the distance was measured at the compute granted: not if the method spent more in the mean, nor
    if a hard run will refuse what a threshold, met in the mean, asks for."""


@dataclass(frozen=True)
class Wanted:
    """What a draft must keep to: `steps`, or `unabridged` evaluations; `flop` of `full_flop` at most."""

    entry: CatalogEntry
    steps: int
    unabridged: int
    full_flop: int
    flop: int
    mode: Mode
    costs: Costs

    @property
    def affordable(self) -> int:
        """Evaluations of all blocks that are paid."""
        return min(self.unabridged, self.flop // self.costs.whole)

    @property
    def span(self) -> Span:
        return span_of(self.entry.shapes)

    def unabridged_draft(self, methods: Sequence[str]) -> Draft | None:
        """The run that needs no method; None if it is not paid, or if something else is to run.

        That is the learned router a model has, or a sampler of a discrete model, if one is named that is not
        its own.
        """
        if LEARNED in methods or self.affordable < self.unabridged:
            return None
        if any(name in SAMPLERS for name in methods) and not {"steps", self.entry.solver} & {*methods}:
            return None
        flop = self.unabridged * self.costs.whole
        return Draft((), self.steps, self.entry.solver, flop, self.entry.calibration)

    def sigmas(self, steps: int | None = None, nodes: Sequence[int] = ()) -> tuple[float, ...]:
        """Noise levels of the evaluations: of a run of so many steps, or of these of the request's own."""
        shift = 1.0 if self.entry.flow_shift is None else self.entry.flow_shift
        levels = flow_sigmas(shift, steps or self.steps, self.entry.solver)
        return tuple(levels[node] for node in nodes) if nodes else levels

    def fitted(self, sigmas: Sequence[float]) -> tuple[int, ...]:
        """The depths at these levels that the budget pays."""
        return fitted(sigmas, self.span, self.costs.own, self.costs.lanes, self.flop)

    def cost_of(self, depths: Sequence[int]) -> int:
        """FLOP of evaluations of these depths."""
        return sum(map(self.costs.at, depths))
