"""Rows, verdicts and aims from the columns of all arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality_vs_compute.collect import Outcome
from benchmarks.quality_vs_compute.intervals import bootstrap, non_inferiority, ratio
from benchmarks.video_quality.arms import ADAPTIVE, FIXED, FULL, PARE, REAL, TOGETHER, Scale, full_name
from benchmarks.video_quality.columns import FIGURES
from workers.training.video.tracking import spearman

MARGIN = 0.02
TEACHER_LIMITS = {"direction": 0.95, "colour": 0.95, "object": 0.75}
KEPT_FIGURES = ("direction", "colour", "object")
SPEED_RANK = 0.5
STEP_SHARE, STEP_CLOCK = 0.53, {1: 0.65, 8: 0.60}
MOTION, FLICKER = 0.03, 1.0
TOGETHER_SHARE, TOGETHER_CLOCK = 1 / 6, 1 / 4

Outcomes = Mapping[str, Outcome]
Report = dict[str, Any]


def rows(found: Outcomes) -> list[Report]:
    """One row an arm, in the order of the arms."""
    return [_row(outcome, found.get(full_name(outcome.arm.captions))) for outcome in found.values()]


def _row(outcome: Outcome, full: Outcome | None) -> Report:
    arm, columns = outcome.arm, outcome.columns
    row: Report = {
        "arm": arm.name,
        "line": arm.line,
        "group": arm.group,
        "captions": arm.captions,
        "budget": arm.fraction,
        "setting": dict(arm.peer.setting) if arm.peer else None,
        "pairs": len(columns["movers"]),
        "share": _mean(columns["measured"]),
        "spent": _mean(columns["spent"]),
        "nfe": _mean(columns["nfe"]),
        "flicker": _mean(columns["flicker"]),
        "shimmer": _mean(columns["shimmer"]),
        "speed_rank": speed_rank(columns),
        **{figure: float(columns[figure].sum() / columns["movers"].sum()) for figure in FIGURES},
    }
    if full is not None and arm.line not in (FULL, REAL):
        row |= _against(outcome, full)
    return row


def _against(outcome: Outcome, full: Outcome) -> Report:
    """What is held pair by pair against the unabridged run."""
    count = len(outcome.columns["movers"])
    theirs = {name: values[:count] for name, values in full.columns.items()}
    latent = bootstrap(outcome.columns["latent"])
    return {
        "time": float(outcome.columns["seconds"].mean() / theirs["seconds"].mean()),
        "latent": asdict(latent),
        "motion": _ratio(_travelled(outcome.columns), _travelled(theirs)),
        "shimmer_ratio": _ratio(outcome.columns["shimmer"], theirs["shimmer"]),
        "kept": {
            figure: _verdict(_right(outcome.columns, figure), _right(theirs, figure))
            for figure in KEPT_FIGURES
        },
    }


def _verdict(ours: NDArray[Any], theirs: NDArray[Any]) -> Report:
    verdict = non_inferiority(ours, theirs, margin=MARGIN)
    return {**asdict(verdict), "holds": verdict.holds}


def _right(columns: Mapping[str, NDArray[Any]], figure: str) -> NDArray[np.bool_]:
    """(n,): whether all movers of the clip are right, so that a pair is one outcome."""
    return np.asarray(columns[figure] == columns["movers"])


def everything(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """(n,): whether all that is kept is right of all movers."""
    return np.asarray(np.all([_right(columns, figure) for figure in KEPT_FIGURES], axis=0))


def _travelled(columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """(n,): pixels that all movers asked for went; NaN where one was not seen."""
    missing = np.isnan(columns["travelled"]) & ~np.isnan(columns["asked"])
    way = np.nansum(columns["travelled"], axis=1)
    return np.where(missing.any(axis=1), np.nan, way)


def _ratio(ours: NDArray[Any], theirs: NDArray[Any]) -> Report | None:
    """Of the means over pairs where both can be told; None where there is no such pair, or nothing to be less
    than."""
    told = ~(np.isnan(ours) | np.isnan(theirs))
    if not told.any() or theirs[told].mean() == 0:
        return None
    return asdict(ratio(ours[told], theirs[told]))


def speed_rank(columns: Mapping[str, NDArray[Any]]) -> float | None:
    """Rank correlation of the speeds asked for and seen; None where too few are seen."""
    told = ~(np.isnan(columns["asked"]) | np.isnan(columns["seen"]))
    found = spearman(columns["asked"][told], columns["seen"][told]) if told.sum() > 2 else np.nan
    return None if np.isnan(found) else float(found)


def _mean(values: NDArray[Any]) -> float | None:
    """Over what can be told."""
    told = values[~np.isnan(values)]
    return float(told.mean()) if len(told) else None


def adaptivity(found: Outcomes) -> Report | None:
    """What is spent on easy and on hard captions, and how many of these are right, adaptive and fixed.

    Returns:
        By line and kind: share, right. `gain_hard`: of the share of hard captions that are right, adaptive
        minus fixed, and its one-sided lower bound. None where a part of it is not there.
    """
    by_place = {(each.arm.line, each.arm.captions): each for each in found.values()}
    wanted = [(line, kind) for line in (ADAPTIVE, FIXED) for kind in ("all", "easy", "hard")]
    if not all(place in by_place for place in wanted):
        return None
    told: Report = {
        f"{line} {kind}": {
            "share": _mean(by_place[line, kind].columns["spent"]),
            "right": float(everything(by_place[line, kind].columns).mean()),
        }
        for line, kind in wanted
    }
    ours, theirs = (everything(by_place[line, "hard"].columns) for line in (ADAPTIVE, FIXED))
    count = min(len(ours), len(theirs))
    gained = non_inferiority(ours[:count], theirs[:count], margin=0.0)
    return told | {"gain_hard": {"difference": gained.difference, "low": gained.low, "pairs": count}}


def aims(
    table: Sequence[Report], clock: Sequence[Report], adaptive: Report | None, scale: Scale
) -> list[Report]:
    """What must be shown, each with what was found and whether that is enough (None: not measured)."""
    by_name = {row["arm"]: row for row in table}
    return [
        *_teacher_aims(by_name.get(FULL)),
        *_pare_aims(by_name.get(f"{PARE}@{scale.matched:g}"), clock),
        *_adaptive_aims(adaptive),
        *_together_aims([row for row in table if row["line"] == TOGETHER], clock),
    ]


def _teacher_aims(full: Report | None) -> list[Report]:
    told = [
        _at_least(f"3 teacher: {figure}", _of(full, figure), limit)
        for figure, limit in TEACHER_LIMITS.items()
    ]
    return [*told, _at_least("3 teacher: speed, rank correlation", _of(full, "speed_rank"), SPEED_RANK)]


def _pare_aims(row: Report | None, clock: Sequence[Report]) -> list[Report]:
    motion = _of(row, "motion", "estimate")
    damped = None if motion is None else abs(motion - 1)
    times = {each["batch"]: each["denoise"] for each in clock if row and each["arm"] == row["arm"]}
    return [
        _at_most("4 PARE: share of FLOPs", _of(row, "share"), STEP_SHARE),
        *(
            _at_most(f"4 PARE: time of a step, batch {batch}", times.get(batch), limit)
            for batch, limit in STEP_CLOCK.items()
        ),
        *_kept_aims("4 PARE", row, KEPT_FIGURES),
        _at_most("4 PARE: displacement strays", damped, MOTION),
        _at_most("4 PARE: flicker against the teacher's", _of(row, "shimmer_ratio", "estimate"), FLICKER),
    ]


def _kept_aims(name: str, row: Report | None, figures: Sequence[str]) -> list[Report]:
    """Non-inferiority by the lower bound."""
    lows = {figure: _of(row, "kept", figure, "low") for figure in figures}
    return [
        _aim(f"{name}: {figure}, lower bound", low, -MARGIN, None if low is None else low > -MARGIN)
        for figure, low in lows.items()
    ]


def _adaptive_aims(adaptive: Report | None) -> list[Report]:
    hard, easy = (_of(adaptive, f"{ADAPTIVE} {kind}", "share") for kind in ("hard", "easy"))
    spread = None if hard is None or easy is None else hard - easy
    gain = _of(adaptive, "gain_hard", "low")
    return [
        _aim("5 spent on hard minus on easy", spread, 0.0, None if spread is None else spread > 0),
        _aim(
            "5 right on hard, adaptive minus fixed, lower bound",
            gain,
            0.0,
            None if gain is None else gain > 0,
        ),
    ]


def _together_aims(table: Sequence[Report], clock: Sequence[Report]) -> list[Report]:
    """Of the dearest arm that is cheap enough: it has the most to keep its quality with."""
    cheap = [row for row in table if row["share"] <= TOGETHER_SHARE] or list(table)
    row = max(cheap, key=lambda each: each["share"], default=None)
    times = [each["total"] for each in clock if row and each["arm"] == row["arm"] and each["batch"] == 1]
    return [
        _at_most("6 together: share of FLOPs", _of(row, "share"), TOGETHER_SHARE),
        _at_most("6 together: time end to end", times[0] if times else None, TOGETHER_CLOCK),
        *_kept_aims("6 together", row, ("direction", "colour")),
    ]


def _of(row: Report | None, *path: str) -> float | None:
    """The number at the end of the path, None where the path ends before."""
    found: Any = row
    for name in path:
        found = None if found is None else found[name]
    return None if found is None else float(found)


def _at_least(name: str, value: float | None, limit: float) -> Report:
    return _aim(name, value, limit, None if value is None else value >= limit)


def _at_most(name: str, value: float | None, limit: float) -> Report:
    return _aim(name, value, limit, None if value is None else value <= limit)


def _aim(name: str, value: float | None, limit: float, met: bool | None) -> Report:
    return {"aim": name, "found": value, "limit": limit, "met": met}
