"""SoftCap as Rheostat runs it: placed anchors, fitted forecasts, and a budget that follows the prompt.

What is the paper's: an observer whose risk is held against a threshold, a budget that is soft, forecasts
between full evaluations. What is ours: the anchors stand where the outputs before say least of what follows;
the forecasts' weights are fitted so that the run ends where the unabridged one does; and the risk is known
before anything has run: how far runs of such a prompt stray, linear in its embeddings. Calm prompts take a
path with fewer anchors, hard ones a path with more, at the mean that was granted. What each change gains is
measured in `docs/results/softcap.md`. The paper's own method is `softcap-paper`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from protocol.calibration import Calibration
from workers.acceleration.anchored import AnchoredCache, MethodConfig
from workers.acceleration.residual import read
from workers.acceleration.spaces import OutputSpace, Space, extrapolate
from workers.core import Emit, Go, Kept, Layout, Row, Sample, combine, condition_features, newton_weights

_TABLE = "softcap"
_VELOCITY = "velocity"
_RISK, _BRANCH = "risk", "branch"
_OUTPUTS = 4
"""Outputs of anchors that are kept, the most a gap is made of."""
_NEVER = 1e9
_MOST_SHOWN = 10.0


class SoftCapConfig(MethodConfig):
    """Which calibrated paths a run may take, and which risk leads to which.

    Args:
        path_0: the path of calm prompts, a place in the calibration's table; -1: no calibration, the plan's
            nodes with linear forecasts.
        path_1, path_2: paths of more anchors; -1: none.
        threshold_1, threshold_2: a risk at or above it takes that path. Lower spends more. They are logs, as
            the fitted risk is; lines show both as the distance that stands for.
        space: in which forecasts without a calibrated path extrapolate, by number: flow 0, x0 1, eps 2.
            Fitted velocities have none: a gap along which x0 stands still is a gap of one velocity.
    """

    path_0: int = Field(-1, ge=-1)
    path_1: int = Field(-1, ge=-1)
    path_2: int = Field(-1, ge=-1)
    threshold_1: float = _NEVER
    threshold_2: float = _NEVER
    space: OutputSpace = Space.FLOW

    @property
    def later(self) -> tuple[tuple[int, float], ...]:
        """(path, the risk it begins at) of the paths beside the first, rising."""
        pairs = ((self.path_1, self.threshold_1), (self.path_2, self.threshold_2))
        return tuple((path, begins) for path, begins in pairs if path >= 0)


class FittedPath(BaseModel):
    """Where a run is full, and the mean velocity between: a row of weights a gap, the newest output's last.

    Raises:
        ValueError: nodes that do not rise from 0, or weights of outputs that are not known there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    nodes: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nodes[:1] != (0,) or any(after <= now for now, after in pairwise(self.nodes)):
            raise ValueError(f"nodes {self.nodes} do not rise from 0")
        counts = [len(row) for row in self.weights]
        known = [min(place, _OUTPUTS) for place in range(1, len(self.nodes) + 1)]
        if len(counts) != len(known) or any(
            not 1 <= count <= most for count, most in zip(counts, known, strict=True)
        ):
            raise ValueError(f"{counts} weights, where {known} outputs are known")
        return self


class _Table(BaseModel):
    """The paths, and the line from a prompt's features to its risk, the log of the distance to expect."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    paths: tuple[FittedPath, ...] = ()
    weights: tuple[float, ...] = ()
    offset: float = 0.0


class SoftCap(AnchoredCache[SoftCapConfig]):
    """Full at the path's anchors; between them one fitted velocity a gap.

    A guided sample's risk is its first lane's. `Sample.control` holds `risk` and `branch` from the first
    evaluation on, where there is something to choose; `Sample.memory` the gap's velocity.

    Raises:
        ValueError: the calibration's table is not one of this method.
    """

    config_type = SoftCapConfig
    num_anchors = _OUTPUTS

    def __init__(self, layout: Layout, calibration: Calibration | None = None) -> None:
        super().__init__(layout, calibration)
        self._table = _Table.model_validate(calibration.tables.get(_TABLE, {}) if calibration else {})
        self._weights = torch.tensor(self._table.weights, dtype=torch.float64)

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        return [self._answer(row.sample) for row in rows]

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        super().end(rows, outputs, kept)
        anchored = [row.sample for row, cuts in zip(rows, kept, strict=True) if cuts is not None]
        self._choose([sample for sample in anchored if self._has_choice(sample)])
        for sample in anchored:
            self._fit_gap(sample)
        return [
            row.sample.memory.get(_VELOCITY, output) if cuts is not None else output
            for row, output, cuts in zip(rows, outputs, kept, strict=True)
        ]

    def predict(self, sample: Sample) -> Tensor:
        """The gap's fitted velocity; without a calibrated path the linear forecast in sigma."""
        if (fitted := sample.memory.get(_VELOCITY)) is not None:
            return fitted
        sigma = sample.solver.schedule.sigmas[sample.evaluation]
        weights = newton_weights([anchor.sigma for anchor in sample.anchors], sigma, 1)
        return extrapolate(sample, weights, self.config(sample).space)

    def _answer(self, sample: Sample) -> Go | Emit:
        risk, branch = sample.control.get(_RISK), int(sample.control.get(_BRANCH, 0))
        threshold = None if risk is None else _as_distance(self._threshold(sample, branch))
        risk = None if risk is None else _as_distance(risk)
        if sample.evaluation in self._nodes(sample):
            return self.full(sample, "risk" if branch else "schedule", risk=risk, threshold=threshold)
        return self.forecast(sample, "schedule", risk=risk, threshold=threshold)

    def _threshold(self, sample: Sample, branch: int) -> float:
        """The threshold that was crossed last, or the first if none was."""
        return self.config(sample).later[max(branch - 1, 0)][1]

    def _nodes(self, sample: Sample) -> tuple[int, ...]:
        path = self._path(sample)
        return path.nodes if path else (0, *sample.plan.nodes)

    def _path(self, sample: Sample) -> FittedPath | None:
        """The calibrated path the sample is on."""
        config, branch = self.config(sample), int(sample.control.get(_BRANCH, 0))
        place = config.later[branch - 1][0] if branch else config.path_0
        return self._table.paths[place] if place >= 0 else None

    def _has_choice(self, sample: Sample) -> bool:
        """Whether this is the first evaluation of a run that may take several paths; all begin with it."""
        return sample.evaluation == 0 and bool(self.config(sample).later)

    def _choose(self, samples: Sequence[Sample]) -> None:
        """Take each sample's risk, with one host sync for all, and the path it leads to."""
        if not samples:
            return
        risks = read(self._layout.ranks.told(torch.stack([self._risk(sample) for sample in samples])))
        for sample, risk in zip(samples, risks, strict=True):
            later = self.config(sample).later
            crossed = [place for place, (_, begins) in enumerate(later, start=1) if risk >= begins]
            payable = [place for place in crossed if self._pays(sample, later[place - 1][0])]
            sample.control[_RISK] = risk
            sample.control[_BRANCH] = float(max(payable, default=0))

    def _risk(self, sample: Sample) -> Tensor:
        """(), float64. A row at a time: how a product rounds may depend on how many rows there are."""
        features = condition_features(sample.lanes[0].tensors)[0].to(torch.float64)
        return (features * self._weights.to(features.device)).sum() + self._table.offset

    def _pays(self, sample: Sample, path: int) -> bool:
        """Whether the plan pays this path to its end."""
        nodes = self._table.paths[path].nodes
        return sum(self.full_flop(sample, node) for node in nodes) <= sample.plan.cap_flop

    def _fit_gap(self, sample: Sample) -> None:
        """Work out the velocity of the gap the last anchor opens; the anchor's own step takes it too."""
        path = self._path(sample)
        if path is None:
            return
        row = path.weights[path.nodes.index(sample.evaluation)]
        sample.memory[_VELOCITY] = combine([anchor.output for anchor in sample.anchors[-len(row) :]], row)


def _as_distance(risk: float) -> float:
    """The relative distance a risk stands for; at most exp(10), so that a line can carry it."""
    return math.exp(min(risk, _MOST_SHOWN))
