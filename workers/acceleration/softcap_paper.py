"""SoftCap as published: a risk observer and a soft-budget controller choose between full and forecast.

The paper leaves many numbers open; each is a field of `SoftCapPaperConfig`. Forecasts are Taylor's on the
network's output, and by the same weights on the monitored layer's input.

Source: Zhang et al. 2026 (SoftCap, arXiv:2605.27075), sections 3.1 to 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from protocol.calibration import Calibration
from workers.acceleration.anchored import AnchoredCache, MethodConfig
from workers.acceleration.controller import Guards, PiSettings, PiState, ReferenceCurve, step
from workers.acceleration.observer import (
    PAPER_SCALES,
    PAPER_WEIGHTS,
    Cues,
    View,
    base_risk,
    cues,
    measure,
    risk,
)
from workers.acceleration.spaces import OutputSpace, Space, extrapolate
from workers.core import Emit, Go, Kept, Layout, Row, Sample, Stream, Verdict, combine, taylor_weights

_TABLE = "softcap-paper"
Scale = Annotated[float, Field(gt=0.0)]
Weight = Annotated[float, Field(ge=0.0)]


class SoftCapPaperConfig(MethodConfig):
    """SoftCap's settings. Only `c_*` and `w_*` are printed in the paper; the other defaults are ours.

    Args:
        cap_steps: N_cap, the requested full steps; None: what the plan's grant pays.
        tau_0: the threshold on the curve, found by calibration. Higher: fewer full steps.
        k_p, k_i: the threshold's answer to a full step too many. Higher: closer to the budget, less to risk.
        integral_min, integral_max: the integral's limits.
        tau_min, tau_max: the threshold's limits; None: max(0, 0.6 tau_0) and min(1, 1.6 tau_0).
        d_max: an evaluation this far from its anchor is full. Widened where the budget cannot pay it.
        gamma: weight of the risk's rise since the last decision; the paper's main setting is 0.
        warmup: full evaluations at the start. Cut where the budget cannot pay them.
        order: of the Taylor forecast.
        space: of the output's forecast, by number: flow 0, x0 1, eps 2.
        monitor: 1 watches the last block's input, forecast; 0 the first block's, which costs an embedding.
        lagged: 1 decides on the statistics of the forecast before, 0 right after a full evaluation.
        c_mag, c_dir, c_anc, c_vol: scales of the cues; None: the calibration's, else the paper's.
        w_mag, w_dir, w_anc, w_vol: weights of the cues.
        eps: added to denominators.
    """

    cap_steps: float | None = Field(None, gt=0.0)
    tau_0: float = Field(0.3, ge=0.0)
    k_p: float = Field(0.02, ge=0.0)
    k_i: float = Field(0.002, ge=0.0)
    integral_min: float = -10.0
    integral_max: float = 10.0
    tau_min: float | None = Field(None, ge=0.0)
    tau_max: float | None = Field(None, ge=0.0)
    d_max: int = Field(8, ge=1)
    gamma: float = Field(0.0, ge=0.0)
    warmup: int = Field(2, ge=1)
    order: int = Field(2, ge=0, le=2)
    space: OutputSpace = Space.FLOW
    monitor: int = Field(1, ge=0, le=1)
    lagged: int = Field(0, ge=0, le=1)
    c_mag: Scale | None = None
    c_dir: Scale | None = None
    c_anc: Scale | None = None
    c_vol: Scale | None = None
    w_mag: Weight = PAPER_WEIGHTS.magnitude
    w_dir: Weight = PAPER_WEIGHTS.direction
    w_anc: Weight = PAPER_WEIGHTS.distance
    w_vol: Weight = PAPER_WEIGHTS.volatility
    eps: float = Field(1e-8, gt=0.0)

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        _ = self.pi
        return self

    @property
    def pi(self) -> PiSettings:
        """The controller's part."""
        return PiSettings(
            tau_0=self.tau_0,
            k_p=self.k_p,
            k_i=self.k_i,
            integral_min=self.integral_min,
            integral_max=self.integral_max,
            tau_min=max(0.0, 0.6 * self.tau_0) if self.tau_min is None else self.tau_min,
            tau_max=min(1.0, 1.6 * self.tau_0) if self.tau_max is None else self.tau_max,
        )

    @property
    def weights(self) -> Cues:
        return Cues(self.w_mag, self.w_dir, self.w_anc, self.w_vol)

    def scales(self, fitted: Cues) -> Cues:
        """The scales given here, and `fitted` where none is given."""
        given = (self.c_mag, self.c_dir, self.c_anc, self.c_vol)
        return Cues(*(scale or default for scale, default in zip(given, fitted, strict=True)))


class _Table(BaseModel):
    """What the calibration holds for this method: C(t) at even steps, and a scale a cue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    curve: tuple[float, ...] = ReferenceCurve().points
    scales: tuple[Scale, Scale, Scale, Scale] = PAPER_SCALES


class SoftCapPaper(AnchoredCache[SoftCapPaperConfig]):
    """Full where a guard says so or the risk reaches the controller's threshold; else a Taylor forecast.

    A guided sample is judged by its first lane. `Sample.control` holds `full_steps`, `integral`, `base` (the
    last s_base) and `risk` (of the last forecast, 0 after a full evaluation).

    Raises:
        ValueError: the calibration's table is not one of this method.
    """

    config_type = SoftCapPaperConfig
    num_anchors = 3

    def __init__(self, layout: Layout, calibration: Calibration | None = None) -> None:
        super().__init__(layout, calibration)
        table = _Table.model_validate(calibration.tables.get(_TABLE, {}) if calibration else {})
        self._curve = ReferenceCurve(table.curve)
        self._fitted = Cues(*table.scales)
        self._bases: dict[str, float] = {}
        """s_base by sample, from a verdict to its `end`: asking again only writes the same number again."""

    def begin(self, rows: Sequence[Row]) -> Sequence[Go | Emit]:
        answers = [self._unseen(row.sample) for row in rows]
        rest = [row.sample for row, answer in zip(rows, answers, strict=True) if answer is None]
        judged = iter(self._judge(rest, [self._forecast_input(sample) for sample in rest]))
        return [next(judged) if answer is None else answer for answer in answers]

    def at(self, rows: Sequence[Row], cut: int, stream: Stream) -> Sequence[Verdict]:
        tokens = [stream.hidden[0][row.lanes.start : row.lanes.start + 1] for row in rows]
        return self._judge([row.sample for row in rows], tokens)

    def end(
        self, rows: Sequence[Row], outputs: Sequence[Tensor], kept: Sequence[Kept | None]
    ) -> Sequence[Tensor]:
        for row, cuts in zip(rows, kept, strict=True):
            self._move_on(row.sample, full=self.anchors_here(row.sample, cuts))
        return super().end(rows, outputs, kept)

    def full(
        self, sample: Sample, reason: str | None, *, risk: float | None = None, threshold: float | None = None
    ) -> Go | Emit:
        """A full evaluation, unless it would cost the budget an anchor still owed to a guard."""
        if not self._pays(sample):
            return self.forecast(sample, "guard_denied", risk=risk, threshold=threshold)
        keep = (self._cut(sample),)
        return Go(0, self._layout.num_blocks, keep, risk=risk, threshold=threshold, reason=reason)

    def predict(self, sample: Sample) -> Tensor:
        """The Taylor forecast of the output, (lanes, S, C)."""
        return extrapolate(sample, self._taylor(sample), self.config(sample).space)

    def anchors_here(self, sample: Sample, cuts: Kept | None) -> bool:
        return cuts is not None and self._cut(sample) in cuts

    def anchor(self, sample: Sample, output: Tensor, cuts: Kept) -> None:
        """Remember the evaluation; of what was kept only the tokens that are judged, (1, S, D)."""
        cut = self._cut(sample)
        tokens = cuts[cut][0]
        super().anchor(sample, output, {cut: (tokens if len(tokens) == 1 else tokens[:1].clone(),)})

    def skip_flop(self, sample: Sample) -> int:
        embed = 0 if self.config(sample).monitor else self._layout.cost(sample.grid).embed
        return embed * sample.num_lanes

    def guards(self, sample: Sample) -> Guards:
        """The sample's guards, such that its plan can pay them."""
        config, num_steps = self.config(sample), self.num_steps(sample)
        left = sample.plan.cap_flop - num_steps * self.skip_flop(sample)
        guards = Guards(config.warmup, config.d_max, num_steps)
        return guards.within(max(1, left // self.dearest_flop(sample)))

    def _unseen(self, sample: Sample) -> Go | Emit | None:
        """The answer that needs no look at the monitored layer; None: it is forecast and looked at now."""
        self._bases.pop(sample.key, None)
        threshold = self._controlled(sample)[1]
        anchor = sample.anchors[-1].evaluation if sample.anchors else None
        if (reason := self.guards(sample).reason(sample.evaluation, anchor)) is not None:
            return self.full(sample, reason, threshold=threshold)
        config, lagged = self.config(sample), sample.control["risk"]
        if config.lagged and lagged >= threshold and self._pays(sample):
            return self.full(sample, "risk", risk=lagged, threshold=threshold)
        return None if config.monitor else Go(0, 0)

    def _judge(self, samples: Sequence[Sample], tokens: Sequence[Tensor]) -> list[Go | Emit]:
        """A verdict a sample from the monitored layer's input, each (1, S, D)."""
        views = [self._view(sample, now) for sample, now in zip(samples, tokens, strict=True)]
        measured = measure(views, self._layout.ranks)
        verdicts = []
        for sample, numbers in zip(samples, measured, strict=True):
            config = self.config(sample)
            skipped = sample.evaluation - sample.anchors[-1].evaluation
            found = cues(numbers, skipped, self.guards(sample).max_skip, config.eps)
            base = base_risk(found, config.scales(self._fitted), config.weights)
            self._bases[sample.key] = base
            verdicts.append(self._decide(sample, base))
        return verdicts

    def _decide(self, sample: Sample, base: float) -> Go | Emit:
        threshold = self._controlled(sample)[1]
        lagged = bool(self.config(sample).lagged)
        score = sample.control["risk"] if lagged else self._risk(sample, base)
        if score >= threshold:
            return self.full(sample, "risk", risk=score, threshold=threshold)
        return self.forecast(sample, "calm", risk=score, threshold=threshold)

    def _move_on(self, sample: Sample, *, full: bool) -> None:
        """Bring the sample's control numbers to the next evaluation."""
        control, base = sample.control, self._bases.pop(sample.key, None)
        control["integral"] = self._controlled(sample)[0].integral
        control["full_steps"] = control.get("full_steps", 0.0) + full
        if full:
            control["risk"] = 0.0
        elif base is not None:
            control["risk"] = self._risk(sample, base)
        if base is not None:
            control["base"] = base

    def _controlled(self, sample: Sample) -> tuple[PiState, float]:
        """The controller's state after this evaluation's decision, and its threshold."""
        config, index = self.config(sample), sample.evaluation
        cap_steps = config.cap_steps or sample.plan.granted_flop / self.dearest_flop(sample)
        return step(
            config.pi,
            PiState(sample.control.get("integral", 0.0)),
            spent=sample.control.get("full_steps", 0.0),
            reference=cap_steps * self._curve.at(index / self.num_steps(sample)),
            hold=index < self.guards(sample).warmup,
        )

    def _risk(self, sample: Sample, base: float) -> float:
        return risk(base, sample.control.get("base", 0.0), self.config(sample).gamma)

    def _pays(self, sample: Sample) -> bool:
        """Whether the plan pays a full evaluation here and all that guards will force after it."""
        owed = self.guards(sample).owed(sample.evaluation) * self.dearest_flop(sample)
        return not sample.anchors or self.affords(sample, self.full_flop(sample) + owed)

    def _cut(self, sample: Sample) -> int:
        """The monitored layer's input."""
        return self._layout.num_blocks - 1 if self.config(sample).monitor else 0

    def _taylor(self, sample: Sample) -> tuple[float, ...]:
        places = [anchor.evaluation for anchor in sample.anchors]
        return taylor_weights(places, sample.evaluation, self.config(sample).order)

    def _forecast_input(self, sample: Sample) -> Tensor:
        cut = self._cut(sample)
        return combine([anchor.kept[cut][0] for anchor in sample.anchors], self._taylor(sample))

    def _view(self, sample: Sample, now: Tensor) -> View:
        cut, (*earlier, last) = self._cut(sample), sample.anchors
        tokens = last.kept[cut][0]
        if not earlier:
            return View(now, tokens, None)
        change = tokens.to(torch.float32) - earlier[-1].kept[cut][0].to(torch.float32)
        return View(now, tokens, change / (last.evaluation - earlier[-1].evaluation))
