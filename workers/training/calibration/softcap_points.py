"""SoftCap's own table and points: fitted paths, the prompts' difficulty, a policy for every grant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from protocol.calibration import CalibrationPoint
from protocol.plan import Plan
from workers.training.calibration.difficulty import (
    Difficulty,
    features_of,
    fit_difficulty,
    held_out_risk,
)
from workers.training.calibration.multistep import Path, fit, follow, linear_path, start
from workers.training.calibration.notebook import Notebook
from workers.training.calibration.placement import Placement
from workers.training.calibration.policies import Policy, best_policy, pays
from workers.training.calibration.probe import Probe
from workers.training.calibration.trial import Trial

COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16)
"""Numbers of anchors that get a path, and those above of longer runs, see `path_counts`. Beyond, linear
forecasts between searched anchors are as good."""
_COUNTED_FOR, _STRETCHED = 28, (12, 14, 16)
_JUDGED_FROM = 5
"""The shortest path whose errors say how hard a prompt is; shorter ones ruin every picture."""
_ROUNDS, _ROUNDS_SHORT = 2, 4
_SHORT = 6
"""Up to so many anchors a fit starts far from where it ends, and its rounds are cheap."""
_FIT_ROWS, _FIT_ROWS_LONG = 48, 24
_LONG = 10
"""From so many anchors on fewer rows are fitted to: the cost grows with their square."""
_ALLOWANCE_SHARE = 0.1
Mode = Literal["soft", "hard"]


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
    """Place the anchors of a path for each number of them, and fit what its gaps add."""
    placement = Placement(probe)
    paths, errors = {}, {}
    for count in path_counts(probe.num_steps):
        entry = notebook.entry(f"path-{count}", partial(_find_path, probe, placement, count))
        paths[count] = Path(tuple(entry["nodes"]), tuple(map(tuple, entry["weights"])))
        errors[count] = torch.tensor(entry["errors"])
    features, strayed = features_of(probe), typical_error(errors)
    return Fitted(paths, errors, fit_difficulty(features, strayed), held_out_risk(features, strayed))


def path_counts(num_steps: int) -> tuple[int, ...]:
    """COUNTS below the number of steps; of a longer run than 28 also the larger of its shares."""
    shares = {round(count * num_steps / _COUNTED_FOR) for count in _STRETCHED}
    counts = {*COUNTS, *(count for count in shares if count > max(COUNTS))}
    return tuple(sorted(count for count in counts if count < num_steps))


def typical_error(errors: Mapping[int, Tensor]) -> Tensor:
    """How far each prompt strays (B,), the geometric mean over paths: one path's mishaps do not decide."""
    judged = [count for count in errors if count >= min(max(errors), _JUDGED_FROM)]
    return torch.stack([errors[count].log() for count in judged]).mean(0).exp()


def _find_path(probe: Probe, placement: Placement, count: int) -> dict[str, Any]:
    size = _FIT_ROWS_LONG if count >= _LONG else _FIT_ROWS
    rows = torch.randperm(len(probe), generator=torch.Generator().manual_seed(count))[:size]
    rounds = _ROUNDS_SHORT if count <= _SHORT else _ROUNDS
    path = fit(probe, linear_path(probe, placement.place(count)), rows, rounds=rounds)
    everyone = torch.arange(len(probe))
    with torch.inference_mode():
        end, _ = follow(probe, path, everyone, start(probe, everyone))
    return {"nodes": path.nodes, "weights": path.weights, "errors": probe.distance(end, everyone).tolist()}


def policy_points(trial: Trial, fitted: Fitted, notebook: Notebook) -> list[CalibrationPoint]:
    """A soft and a hard point for every grant from 1 to the longest path that a policy makes full use of.

    A hard run takes one path, the longest it can pay. So does a soft one, unless on the trial's prompts, to
    which nothing was fitted, its policy strays less than single paths do at the same mean.
    """

    def point(name: str, wanted: int, policy: Policy, mode: Mode) -> CalibrationPoint:
        path = fitted.paths.get(wanted)
        places = path.nodes if path else ()
        plan = trial.plan("softcap", wanted, fitted.parameters(policy), mode=mode, places=places)
        entry = notebook.entry(f"softcap-{wanted}-{name}", partial(_measured, trial, plan, mode))
        return CalibrationPoint.model_validate(entry)

    errors = fitted.errors
    single = {count: best_policy({count: errors[count]}, fitted.risk, count, 0.0) for count in errors}
    points = [point("hard", count, policy, "hard") for count, policy in single.items()]
    known = [(each.spent, each.distance) for each in points]
    for wanted in range(1, max(single) + 1):
        policy = best_policy(errors, fitted.risk, wanted, _ALLOWANCE_SHARE * trial.steps)
        adaptive = point("soft", wanted, policy, "soft")
        if policy.spent > wanted - 1 and pays(adaptive.spent, adaptive.distance, known):
            points.append(adaptive)
        elif wanted in single:
            points.append(point("single", wanted, single[wanted], "soft"))
    return points


def _measured(trial: Trial, plan: Plan, mode: Mode) -> dict[str, Any]:
    return trial.point(plan, mode=mode).model_dump(mode="json")
