"""Forecast weights fitted end to end: what a gap between anchors adds, so that the run ends where it should.

Between two anchors nothing is evaluated, so all that matters of the forecasts there is what they add to the
latents. That is a combination of the last outputs, and its weights are fitted so that the run ends where
the unabridged one does: Gauss-Newton on the final latents.

Euler's steps add up, so a gap is one sum. Any other solver is told the gap's velocity at each of its steps,
as it is in a run: UniPC's corrector then takes the forecast for what was seen there. The weights are fitted
through the solver, so they know what it makes of them.

Source: the idea of non-stationary solver weights, Shaul et al. 2024 (Bespoke Non-Stationary Solvers); the
Gauss-Newton fit by forward differences is ours, it needs no gradients of the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from workers.core import Sample, combine, newton_weights
from workers.training.calibration.probe import Probe

HISTORY = 4
"""Outputs a gap is made of. More gained nothing at 5 to 9 anchors."""
_DAMPINGS = (1e-3, 1e-2, 1e-1)
_NUDGE = 1e-2
"""Of the gap's length; the step of a forward difference."""
_SCALES = (0.3, 2.0)
_FLOOR = 1e-9


@dataclass(frozen=True)
class Path:
    """Where a run is full and what each gap adds.

    Attributes:
        nodes: anchors, rising from 0.
        weights: a tuple a gap, the newest output's weight last, at most HISTORY; their sum is about the gap's
            length in sigma (negative).
    """

    nodes: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]

    def ends(self, num_steps: int) -> tuple[int, ...]:
        """Where each gap ends."""
        return (*self.nodes[1:], num_steps)

    def velocities(self, probe: Probe) -> dict[str, Any]:
        """As a calibration keeps it: weights per length in sigma, so that other schedules can take them."""
        sigmas = probe.schedule.sigmas
        lengths = [
            sigmas[end] - sigmas[node]
            for node, end in zip(self.nodes, self.ends(probe.num_steps), strict=True)
        ]
        rows = zip(self.weights, lengths, strict=True)
        return {
            "nodes": list(self.nodes),
            "weights": [[weight / length for weight in row] for row, length in rows],
        }

    def with_weights(self, changes: dict[tuple[int, int], float]) -> Path:
        """Weights moved by these amounts, addressed by (gap, place)."""
        rows = [list(row) for row in self.weights]
        for (gap, place), amount in changes.items():
            rows[gap][place] += amount
        return Path(self.nodes, tuple(tuple(row) for row in rows))


@dataclass(frozen=True)
class State:
    """Rows before an anchor: where the solver has them, and the outputs so far (R, ...), oldest first."""

    sample: Sample
    outputs: tuple[Tensor, ...]

    @property
    def latents(self) -> Tensor:
        """(R, ...)."""
        return self.sample.latents


def linear_path(probe: Probe, nodes: Sequence[int]) -> Path:
    """Every gap extrapolates linearly in sigma from the last two outputs: where a fit starts."""
    sigmas, steps = probe.schedule.sigmas, probe.steps
    rows = []
    for gap, (start, end) in enumerate(pairwise((*nodes, probe.num_steps))):
        known = nodes[max(0, gap + 1 - HISTORY) : gap + 1]
        row = [0.0] * len(known)
        row[-1] = steps[start]
        for index in range(start + 1, end):
            weights = newton_weights([sigmas[node] for node in known], sigmas[index], 1)
            row = [so_far + steps[index] * weight for so_far, weight in zip(row, weights, strict=True)]
        rows.append(tuple(row))
    return Path(tuple(nodes), tuple(rows))


def start(probe: Probe, rows: Tensor) -> State:
    """Before the first anchor."""
    return State(probe.course.start(probe.noise[rows]), ())


def follow(probe: Probe, path: Path, rows: Tensor, state: State, gap: int = 0) -> tuple[Tensor, list[State]]:
    """Run the path from gap `gap` on; the final latents and the state before each anchor passed."""
    passed = []
    for place in range(gap, len(path.nodes)):
        passed.append(state)
        state = cross(probe, path, place, evaluate(probe, path, place, rows, state))
    return state.latents, passed


def evaluate(probe: Probe, path: Path, gap: int, rows: Tensor, state: State) -> State:
    """The state with this anchor's output."""
    return State(state.sample, (*state.outputs, probe.evaluate(state.latents, path.nodes[gap], rows)))


def cross(probe: Probe, path: Path, gap: int, state: State) -> State:
    """The state after a gap, its anchor evaluated."""
    row = path.weights[gap]
    outputs = state.outputs[-len(row) :]
    if probe.course.adds_up:
        moved = replace(state.sample, latents=state.latents + combine(outputs, row))
        return State(moved, state.outputs)
    begin, end = path.nodes[gap], path.ends(probe.num_steps)[gap]
    length, sample = probe.schedule.sigmas[end] - probe.schedule.sigmas[begin], state.sample
    velocity = combine(outputs, [weight / length for weight in row])
    for _ in range(begin, end):
        sample = probe.course.move(sample, velocity)
    return State(sample, state.outputs)


@torch.inference_mode()
def fit(
    probe: Probe, path: Path, rows: Tensor, *, entry: State | None = None, gap: int = 0, rounds: int = 2
) -> Path:
    """Fit the weights of the gaps from `gap` on; the others stay.

    Args:
        rows: of the probe to fit to.
        entry: the rows' state before anchor `gap`; None: the start.
        rounds: Gauss-Newton steps; each costs about HISTORY / 2 times the path squared in evaluations a row.
    """
    problem = _Problem(probe, rows, entry or start(probe, rows), gap)
    for _ in range(rounds):
        path = _round(problem, path)
    return path


@dataclass(frozen=True)
class _Problem:
    """Rows that stand before a gap and should end where their unabridged runs did."""

    probe: Probe
    rows: Tensor
    entry: State
    gap: int

    def missing(self, final: Tensor) -> Tensor:
        """What each row lacks at its end (R, D), in units of its reference's norm."""
        reference = self.probe.final[self.rows].float().flatten(1)
        missing: Tensor = (final.float().flatten(1) - reference) / reference.norm(dim=1, keepdim=True)
        return missing

    def end(self, path: Path, state: State | None = None, gap: int | None = None) -> Tensor:
        """Where the rows end on this path."""
        at = self.gap if gap is None else gap
        return follow(self.probe, path, self.rows, state or self.entry, at)[0]


def _round(problem: _Problem, path: Path) -> Path:
    """Of several damped Gauss-Newton steps and none, the one whose rows end closest in the mean.

    A row weighs the less the further it strays, so that the sum of distances falls and not that of their
    squares: a run that turned into another picture has nothing to say about weights.
    """
    final, passed = follow(problem.probe, path, problem.rows, problem.entry, problem.gap)
    missing = problem.missing(final)
    distance = missing.norm(dim=1, keepdim=True)
    scale = (distance.mean() / (distance + _FLOOR)).sqrt().clamp(*_SCALES)
    places, columns = [], []
    for where, column in _columns(problem, path, passed, final):
        places.append(where)
        columns.append((column * scale).flatten().double())
    jacobian, residual = torch.stack(columns, 1), (missing * scale).flatten().double()
    hessian, gradient = jacobian.T @ jacobian, jacobian.T @ residual
    found = [(float(distance.mean()), path)]
    for damping in _DAMPINGS:
        damped = hessian + damping * torch.diag(hessian.diagonal()) + _FLOOR * torch.eye(len(places))
        step = torch.linalg.solve(damped, gradient).tolist()
        changed = path.with_weights({where: -amount for where, amount in zip(places, step, strict=True)})
        found.append((float(problem.missing(problem.end(changed)).norm(dim=1).mean()), changed))
    return min(found, key=lambda pair: pair[0])[1]


def _columns(
    problem: _Problem, path: Path, passed: Sequence[State], final: Tensor
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """d missing / d weight (R, D) by forward differences, with each weight's (gap, place)."""
    probe, rows = problem.probe, problem.rows
    base = problem.missing(final)
    for which, state in enumerate(passed, start=problem.gap):
        here = evaluate(probe, path, which, rows, state)
        nudge = _NUDGE * abs(sum(path.weights[which]))
        for place in range(len(path.weights[which])):
            moved = cross(probe, path.with_weights({(which, place): nudge}), which, here)
            end = problem.end(path, moved, which + 1)
            yield (which, place), (problem.missing(end) - base) / nudge
