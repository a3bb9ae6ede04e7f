"""One image, clip or sequence in flight, with everything it remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from protocol.plan import Plan
from protocol.receipts import Action, StepLine
from workers.core.layout import Grid
from workers.core.stream import Hidden

if TYPE_CHECKING:
    from workers.core.interfaces import Cache, Router


@dataclass(frozen=True, slots=True)
class Condition:
    """What one lane is conditioned on; the family knows what the entries mean.

    Args:
        tensors: each (1, ...), the same shapes in all rows of a batch.
        scalars: numbers fed to the network beside the timestep (a distilled guidance).
    """

    tensors: tuple[Tensor, ...]
    scalars: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """Noise levels and what the network is told at each.

    Args:
        sigmas: N + 1 floats, falling, the last one 0.
        timesteps: N floats, one an evaluation.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]


@dataclass(slots=True)
class SolverState:
    """What a solver remembers of a sample: schedule, host numbers, and tensors of earlier evaluations."""

    schedule: Schedule
    steps: tuple[float, ...] = ()
    history: dict[str, Tensor] = field(default_factory=dict)


class Point(NamedTuple):
    """Where the solver wants the network evaluated; `latents` of one sample, as in `Batch`.

    `purpose` is what for, where evaluations differ in that; the receipt's line carries it as its reason.
    """

    latents: Tensor
    sigma: float
    timestep: float
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """A full evaluation that a cache forecasts from. `kept` maps cuts to hidden states, one entry a lane."""

    evaluation: int
    sigma: float
    latents: Tensor
    mask: tuple[bool, ...] | None
    kept: dict[int, Hidden]
    output: Tensor


@dataclass(slots=True)
class Ledger:
    """A sample's account in integer FLOP: what it may spend, what it spent, and a line an evaluation.

    `spend` comes with the evaluation, before the next one is decided on; `add` when its seconds are known.
    """

    granted_flop: int
    spent_flop: int = 0
    nfe: int = 0
    lines: list[StepLine] = field(default_factory=list)

    def spend(self, flop: int, action: Action, lanes: int) -> None:
        """Book one evaluation's work. Blocks left out still make an evaluation; a forecast does not."""
        self.spent_flop += flop
        if action in (Action.FULL, Action.ROUTED):
            self.nfe += lanes

    def add(self, line: StepLine) -> None:
        """Write the evaluation's line."""
        self.lines.append(line)


@dataclass(frozen=True, slots=True)
class Stack:
    """The methods a sample runs under: at most one cache and one router."""

    cache: Cache | None = None
    router: Router | None = None


@dataclass(slots=True)
class Sample:
    """One sample between two evaluations.

    Args:
        key: unique in the engine.
        seed: of its noise.
        plan: how it runs.
        grid: its tokens.
        lanes: a condition a lane: (cond,) or (cond, uncond). They travel together as rows. Where ranks split
            the lanes, this rank's alone.
        guidance_scale: combines two lanes; unused with one.
        latents: of one sample, as in `Batch`; the state.
        solver: what the solver remembers.
        stack: cache and router.
        ledger: the account.
        evaluation: how many evaluations are done.
        anchors: newest last, kept by the cache.
        control: the controller's numbers, kept by the cache.
        memory: the controller's tensors of evaluations that were no anchors, kept by the cache.
        mask: of the evaluation under way, which blocks its router lets it run; None: there is no router.
        lane_ranks: ranks that its lanes are split among.
    """

    key: str
    seed: int
    plan: Plan
    grid: Grid
    lanes: tuple[Condition, ...]
    guidance_scale: float
    latents: Tensor
    solver: SolverState
    stack: Stack
    ledger: Ledger
    evaluation: int = 0
    anchors: list[Anchor] = field(default_factory=list)
    control: dict[str, float] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    mask: tuple[bool, ...] | None = None
    lane_ranks: int = 1

    @property
    def num_lanes(self) -> int:
        """Lanes that are evaluated, on whatever rank."""
        return len(self.lanes) * self.lane_ranks


class Row(NamedTuple):
    """A sample's place among the rows of a stream: one row a lane, in the order of `Sample.lanes`."""

    sample: Sample
    lanes: range
