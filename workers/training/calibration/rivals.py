"""Every rival at its best on each budget: variants tried, thresholds set so that the budget is met."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from protocol.calibration import CalibrationPoint
from workers.training.calibration.trial import Outcome, Trial

_LOG = logging.getLogger(__name__)
_LEVELS = 9
"""Thresholds a variant is tried at, spread over its range by a constant factor."""
_REFINEMENTS = 2
_LEAST = 1e-6


@dataclass(frozen=True)
class Dialled:
    """A method with a threshold: the higher it is, the less is spent.

    Args:
        method, dial: their names.
        lowest, highest: between which the threshold is sought.
        variants: other settings to try it under.
    """

    method: str
    dial: str
    lowest: float
    highest: float
    variants: tuple[Mapping[str, float], ...] = field(default_factory=lambda: ({},))


def _grid(**choices: Sequence[float]) -> tuple[Mapping[str, float], ...]:
    return tuple(dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values()))


DIALLED = (
    Dialled("teacache", "threshold", 0.02, 3.0),
    Dialled("first-block-cache", "threshold", 0.02, 3.0, _grid(order=(0, 1), warmup=(0, 2), first=(1, 2))),
    Dialled("magcache", "threshold", 0.005, 3.0, _grid(max_skip=(3, 5, 9), retention=(0.1, 0.2))),
    Dialled(
        "speca", "threshold", 0.1, 60.0, _grid(order=(1, 2), min_skip=(1, 2), max_skip=(4, 8), lagged=(0, 1))
    ),
    Dialled("fixed-threshold", "tau_0", 0.02, 0.95, _grid(order=(1, 2), warmup=(2, 3), d_max=(5, 8))),
)
STEPPED: Mapping[str, tuple[Mapping[str, float], ...]] = {
    "taylorseer": _grid(interval=(2, 3, 4, 5, 6, 7, 8), order=(1, 2), warmup=(1, 2, 3, 6)),
    "fora": _grid(interval=(2, 3, 4, 5, 6, 7, 8)),
}


@dataclass(frozen=True)
class _Curve:
    """A variant at rising thresholds: what it spends, how far it strays."""

    variant: Mapping[str, float]
    levels: Sequence[float]
    spent: Sequence[float]
    distance: Sequence[float]

    def level_at(self, share: float) -> float:
        """The threshold at which it spends about `share`."""
        return _log_interpolated(share, self.spent, self.levels)

    def distance_at(self, share: float) -> float:
        """How far it strays there."""
        return _log_interpolated(share, self.spent, self.distance)


def _log_interpolated(share: float, spent: Sequence[float], values: Sequence[float]) -> float:
    pairs = sorted(zip(spent, values, strict=True))
    places = np.array([place for place, _ in pairs])
    logs = np.log(np.maximum([value for _, value in pairs], _LEAST))
    return float(np.exp(np.interp(share, places, logs)))


def dialled_points(trial: Trial, few: Trial, rival: Dialled, counts: Sequence[int]) -> list[CalibrationPoint]:
    """The method's best variant, with a point for each number of full evaluations in `counts`.

    Args:
        trial: the prompts of the final measurement.
        few: those of the search.
    """
    shares = [trial.share(count) for count in counts]
    curves = [_curve(few, rival, variant) for variant in _possible(few, rival)]
    best = min(curves, key=lambda curve: sum(np.log(curve.distance_at(share)) for share in shares))
    _LOG.info("%s: best variant %s of %d", rival.method, dict(best.variant), len(curves))
    return [_dialled_point(trial, few, rival, best, count) for count in counts]


def _possible(few: Trial, rival: Dialled) -> list[Mapping[str, float]]:
    """The variants a network of so few blocks can run: after the first ones some must be left to skip."""
    num_blocks = few.model.network.layout.num_blocks
    return [variant for variant in rival.variants if variant.get("first", 0) < num_blocks]


def _curve(few: Trial, rival: Dialled, variant: Mapping[str, float]) -> _Curve:
    levels = np.geomspace(rival.lowest, rival.highest, _LEVELS).tolist()
    outcomes = [_unlimited(few, rival, variant, level) for level in levels]
    return _Curve(
        variant,
        levels,
        [float(outcome.spent.mean()) for outcome in outcomes],
        [float(outcome.distance.mean()) for outcome in outcomes],
    )


def _unlimited(few: Trial, rival: Dialled, variant: Mapping[str, float], level: float) -> Outcome:
    return few.run(few.plan(rival.method, few.steps, {**variant, rival.dial: level}))


def _dialled_point(trial: Trial, few: Trial, rival: Dialled, curve: _Curve, count: int) -> CalibrationPoint:
    """Set the threshold so that the mean is met under the plan's own cap, then measure."""
    share = aim = trial.share(count)
    level = curve.level_at(aim)
    for _ in range(_REFINEMENTS):
        spent = float(
            few.run(few.plan(rival.method, count, {**curve.variant, rival.dial: level})).spent.mean()
        )
        aim += share - spent
        level = curve.level_at(aim)
    plan = trial.plan(rival.method, count, {**curve.variant, rival.dial: level})
    return trial.point(plan, dial=rival.dial)


def reference_curve(few: Trial, fixed: Sequence[CalibrationPoint]) -> list[float]:
    """SoftCap's C(t): the mean cumulative share of full steps under a fixed, middling threshold."""
    point = fixed[len(fixed) // 2]
    full = few.run(few.plan("fixed-threshold", few.steps, point.parameters)).full.double().mean(0)
    cumulative = full.cumsum(0) / full.sum()
    return [0.0, *cumulative.clamp(max=1.0).tolist()]


def controlled_points(trial: Trial, fixed: Sequence[CalibrationPoint]) -> list[CalibrationPoint]:
    """SoftCap as published: the fixed policy's threshold at each budget, with the controller on."""
    return [
        trial.point(
            trial.plan("softcap-paper", round(point.budget / trial.share(1)), point.parameters), dial="tau_0"
        )
        for point in fixed
    ]


def stepped_points(trial: Trial, few: Trial, method: str, counts: Sequence[int]) -> list[CalibrationPoint]:
    """For each number of full evaluations the setting that strays least among those that cost no more."""
    tried = []
    for setting in STEPPED[method]:
        outcome = few.run(few.plan(method, few.steps, setting))
        tried.append((float(outcome.spent.mean()), float(outcome.distance.mean()), setting))
    points = []
    for count in counts:
        payable = [row for row in tried if row[0] <= trial.share(count) + 1e-6]
        if payable:
            _, _, setting = min(payable, key=lambda row: row[1])
            points.append(trial.point(trial.plan(method, count, setting)))
    return points


def static_points(
    trial: Trial, few: Trial, count: int, schedules: Iterable[tuple[int, ...]]
) -> list[CalibrationPoint]:
    """One point: linear forecasts between the anchors of whichever schedule strays least."""
    plans = [few.plan("static", count, {"order": 1.0}, nodes) for nodes in schedules]
    plan = min(plans, key=lambda plan: float(few.run(plan).distance.mean()))
    return [trial.point(plan)]


def solver_points(
    trial: Trial,
    few: Trial,
    method: str,
    searched: Mapping[int, Sequence[int]],
) -> list[CalibrationPoint]:
    """Fewer steps with a solver, on its own shorter grid or at the searched nodes, whichever strays less.

    Args:
        searched: number of evaluations -> nodes of the unabridged run.
    """
    points = []
    for count, nodes in searched.items():
        plans = [few.plan(method, count, nodes=placed) for placed in ((), nodes)]
        plan = min(plans, key=lambda plan: float(few.run(plan).distance.mean()))
        points.append(trial.point(plan))
    return points
