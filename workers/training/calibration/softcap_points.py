"""SoftCap's own table and points: fitted paths, the prompts' difficulty, a policy for every grant."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from protocol.calibration import CalibrationPoint
from protocol.drafts import even_nodes
from protocol.plan import Plan
from workers.training.calibration.difficulty import (
    Difficulty,
    features_of,
    fit_difficulty,
    held_out_risk,
)
from workers.training.calibration.multistep import Path, fit, follow, linear_path, start
from workers.training.calibration.notebook import Notebook
from workers.training.calibration.policies import Policy, best_policy
from workers.training.calibration.probe import Probe
from workers.training.calibration.trial import Trial

COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16)
"""Numbers of anchors that get a path. Above, linear forecasts between searched anchors are as good."""
_DIFFICULTY_COUNT = 7
"""The path whose errors say how hard a prompt is."""
_ROUNDS, _ROUNDS_SHORT = 2, 4
_SHORT = 6
"""Up to so many anchors a fit starts far from where it ends, and its rounds are cheap."""
_FIT_ROWS, _FIT_ROWS_LONG = 48, 32
_LONG = 10
"""From so many anchors on fewer rows are fitted to: the cost grows with their square."""
_ALLOWANCE_SHARE = 0.1
_CURVES = ((1.0, 0.25), (1.0, 0.5), (1.1, 0.25), (1.1, 0.5), (1.2, 0.25), (1.2, 0.5))
"""(bend, last), see `even_nodes`."""
_CURVE_COUNTS = (5, 7)
"""Numbers of anchors the curves are tried at; the others take the nearest one's."""
_CURVE_ROWS = 24
_LOG = logging.getLogger(__name__)
Mode = Literal["soft", "hard"]
MODES: tuple[Mode, ...] = ("soft", "hard")


@dataclass(frozen=True)
class Fitted:
    """All paths of a model by their number of anchors, and what they come to on the probe's prompts."""

    paths: Mapping[int, Path]
    errors: Mapping[int, Tensor]
    difficulty: Difficulty
    risk: Tensor

    def table(self, probe: Probe) -> dict[str, Any]:
        """What `workers.acceleration.softcap` reads."""
        return {
            "paths": [path.velocities(probe) for path in self.paths.values()],
            "weights": list(self.difficulty.weights),
            "offset": self.difficulty.offset,
        }

    def parameters(self, policy: Policy) -> dict[str, float]:
        """The policy as a plan's parameters."""
        places = [list(self.paths).index(count) for count in policy.counts]
        parameters = {f"path_{rank}": float(place) for rank, place in enumerate(places)}
        return parameters | {f"threshold_{rank}": at for rank, at in enumerate(policy.thresholds, start=1)}


def fit_paths(probe: Probe, notebook: Notebook) -> Fitted:
    """Choose where paths have their anchors, and fit one for each number of them."""
    curves = {
        count: notebook.entry(f"path-curve-{count}", partial(_find_curve, probe, count))
        for count in sorted({min(count, probe.num_steps - 1) for count in _CURVE_COUNTS})
    }
    paths, errors = {}, {}
    for count in (count for count in COUNTS if count < probe.num_steps):
        bend, last = curves[min(curves, key=lambda known: abs(known - count))]
        nodes = even_nodes(count, probe.num_steps, bend, last)
        entry = notebook.entry(f"path-{count}", partial(_find_path, probe, count, nodes))
        paths[count] = Path(tuple(entry["nodes"]), tuple(map(tuple, entry["weights"])))
        errors[count] = torch.tensor(entry["errors"])
    features, hardest = features_of(probe), errors[min(max(errors), _DIFFICULTY_COUNT)]
    difficulty = fit_difficulty(features, hardest)
    return Fitted(paths, errors, difficulty, held_out_risk(features, hardest))


def _find_curve(probe: Probe, count: int) -> tuple[float, float]:
    """Of several ways to spread so many anchors the one that a short fit makes the best of.

    What is best for linear forecasts is not best here: a fit mends long early gaps that ruin a linear one.
    """
    rows = torch.linspace(0, len(probe) - 1, min(_CURVE_ROWS, len(probe))).round().long()
    everyone = torch.arange(len(probe))

    def cost(curve: tuple[float, float]) -> float:
        path = linear_path(probe, even_nodes(count, probe.num_steps, *curve))
        with torch.inference_mode():
            end, _ = follow(probe, fit(probe, path, rows, rounds=1), everyone, start(probe, everyone))
        found = float(probe.distance(end, everyone).square().mean().sqrt())
        _LOG.info("anchors %s at %.4f", path.nodes, found)
        return found

    return min(_CURVES, key=cost)


def _find_path(probe: Probe, count: int, nodes: Sequence[int]) -> dict[str, Any]:
    size = _FIT_ROWS_LONG if count >= _LONG else _FIT_ROWS
    rows = torch.randperm(len(probe), generator=torch.Generator().manual_seed(count))[:size]
    rounds = _ROUNDS_SHORT if count <= _SHORT else _ROUNDS
    path = fit(probe, linear_path(probe, nodes), rows, rounds=rounds)
    everyone = torch.arange(len(probe))
    with torch.inference_mode():
        end, _ = follow(probe, path, everyone, start(probe, everyone))
    return {"nodes": path.nodes, "weights": path.weights, "errors": probe.distance(end, everyone).tolist()}


def policy_points(trial: Trial, fitted: Fitted, notebook: Notebook) -> list[CalibrationPoint]:
    """A soft and a hard point for every grant from 1 to the longest path that a policy makes full use of."""
    points = []
    for wanted in range(1, max(fitted.paths) + 1):
        for mode in MODES:
            policy = _policy(fitted, wanted, mode, int(_ALLOWANCE_SHARE * trial.steps))
            if policy.spent <= wanted - 1:
                continue  # the point below grants what this would spend
            plan = trial.plan("softcap", wanted, fitted.parameters(policy), mode=mode)
            measure = partial(_measured, trial, plan, mode)
            entry = notebook.entry(f"softcap-{wanted}-{mode}", measure)
            points.append(CalibrationPoint.model_validate(entry))
    return points


def _policy(fitted: Fitted, wanted: int, mode: Mode, allowance: int) -> Policy:
    """The best policy of a grant. A hard run takes one path, the longest it can pay."""
    errors = fitted.errors
    if mode == "soft":
        return best_policy(errors, fitted.risk, wanted, wanted + allowance)
    longest = max(count for count in errors if count <= wanted)
    return best_policy({longest: errors[longest]}, fitted.risk, wanted, wanted)


def _measured(trial: Trial, plan: Plan, mode: Mode) -> dict[str, Any]:
    return trial.point(plan, mode=mode).model_dump(mode="json")
