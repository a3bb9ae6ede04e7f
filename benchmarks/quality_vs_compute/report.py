"""What the outcomes come to: a table a budget, ratios at equal FLOPs, and whether each aim is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.quality_vs_compute.arms import FAMILIES, FIXED, FULL, JUDGED_BUDGET, ODE, OURS, PLAIN, REAL
from benchmarks.quality_vs_compute.collect import Outcome
from benchmarks.quality_vs_compute.distances import kernel_inception_distance
from benchmarks.quality_vs_compute.execute import ACTIONS
from benchmarks.quality_vs_compute.frontier import interpolated, least_share
from benchmarks.quality_vs_compute.intervals import (
    bootstrap,
    non_inferiority,
    percentile_99,
    ratio,
    tail_mean,
)

Outcomes = Mapping[str, Outcome]
Report = dict[str, Any]

FAR = 0.15
NEAR_SHARE = 0.03
_DRAWS = 2_000  # of a row's interval; ratios take more
_KID_BLOCKS = 20
_PSNR_CAP = 100.0  # dB; equal images would make every mean infinite


def rows(found: Outcomes) -> list[Report]:
    """A line of the table for the unabridged run and for every arm that is held against it."""
    return [row(outcome, found) for outcome in found.values() if outcome.arm.line not in (REAL, ODE)]


def row(outcome: Outcome, found: Outcomes) -> Report:
    """One arm's figures. `seconds` a pair, `time` its ratio to the same loop unabridged."""
    arm, columns = outcome.arm, outcome.columns
    figures: Report = {
        "arm": arm.name,
        "line": arm.line,
        "group": arm.group,
        "budget": arm.fraction if arm.budget else None,
        "setting": dict(arm.peer.setting) if arm.peer else None,
        "pairs": len(columns["spent"]),
        "spent": outcome.share,
        "seconds": float(columns["seconds"].mean()),
        "time": _time_ratio(outcome, found),
        **_evaluations(outcome),
        "ode": _mean(found.get(ODE, outcome) if arm.line == FULL else outcome, "ode"),
        "feature": _mean(outcome, "feature"),
        "kid_real": _kid(outcome, found.get(REAL)),
        "kid_full": None if arm.line == FULL else _kid(outcome, found.get(FULL)),
        **{name: _mean(outcome, name) for name in ("object", "everything", "confidence")},
    }
    return figures | (_spread(outcome) if "latent" in columns else {})


def _evaluations(outcome: Outcome) -> Report:
    """Of our own runs; peers do not tell."""
    if outcome.arm.peer:
        return {"nfe": None, "actions": None}
    means = outcome.columns["actions"].mean(axis=0).tolist()
    return {"nfe": _mean(outcome, "nfe"), "actions": dict(zip(map(str, ACTIONS), means, strict=True))}


def _spread(outcome: Outcome) -> Report:
    distances = outcome.latent
    interval = bootstrap(distances, draws=_DRAWS)
    return {
        "mean": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "p95": float(np.quantile(distances, 0.95)),
        "p99": float(percentile_99(distances)),
        "worst": float(distances.max()),
        "tail": float(tail_mean(distances)),
        "psnr": float(np.minimum(outcome.columns["psnr"], _PSNR_CAP).mean()),
        "ssim": _mean(outcome, "ssim"),
    }


def _time_ratio(outcome: Outcome, found: Outcomes) -> float | None:
    """To the unabridged run of the same loop: our engine with eight rows, or the pipeline alone."""
    base = found.get(FULL if outcome.arm.peer is None else PLAIN)
    if base is None:
        return None
    count = min(len(outcome.columns["seconds"]), len(base.columns["seconds"]))
    return float(outcome.first("seconds", count).sum() / base.first("seconds", count).sum())


def _mean(outcome: Outcome, column: str) -> float | None:
    return float(outcome.columns[column].mean()) if column in outcome.columns else None


def _kid(outcome: Outcome, other: Outcome | None) -> float | None:
    """KID x 1,000 over the pairs both have features of."""
    if other is None or "features" not in outcome.columns or "features" not in other.columns:
        return None
    count = min(len(outcome.columns["features"]), len(other.columns["features"]))
    pair = [each.first("features", count) for each in (outcome, other)]
    return 1000 * kernel_inception_distance(*pair, blocks=_KID_BLOCKS).mean if count > 1 else None


def ratios(found: Outcomes, budgets: Sequence[float]) -> list[Report]:
    """By budget: ours against released peers at our share, the searched static, and itself not adaptive."""
    result = []
    for budget in budgets:
        ours = found.get(f"{OURS}@{budget:g}")
        if ours is None or "latent" not in ours.columns:
            continue
        result.append(
            {
                "budget": budget,
                "spent": ours.share,
                "families": {name: against(ours, _family(found, [name])) for name in FAMILIES},
                "peers": against(ours, _family(found, [*FAMILIES])),
                "static": paired(ours, found.get(f"static@{budget:g}")),
                "fixed": paired(ours, found.get(f"{FIXED}@{budget:g}")),
            }
        )
    return result


def against(ours: Outcome, rivals: Sequence[Outcome]) -> Report:
    """Ours over the rivals' best at equal FLOPs.

    Returns:
        `rival`: their front's mean distance at our share, interpolated, and `ratio`; both None where they
        cannot be so cheap. A rival of fewer pairs counts as on all, by its ratio to ours on those it has.
        `paired`: the best single setting within .03 of our share, on the same pairs.
        `least_share`: their cheapest setting's.
    """
    points = [{"share": each.share, "mean": _mean_beside(ours, each)} for each in rivals]
    reached = interpolated(points, ours.share)
    near = [each for each in rivals if abs(each.share - ours.share) <= NEAR_SHARE]
    return {
        "rival": reached,
        "ratio": ours.mean / reached if reached else None,
        "least_share": least_share(points),
        "paired": paired(ours, min(near, key=lambda each: each.mean, default=None)),
    }


def _mean_beside(ours: Outcome, rival: Outcome) -> float:
    """The rival's mean distance, corrected for how hard its pairs are to ours."""
    count = min(len(ours.latent), len(rival.latent))
    return ours.mean * float(rival.first("latent", count).sum() / ours.first("latent", count).sum())


def paired(ours: Outcome, rival: Outcome | None) -> Report | None:
    """Ratios of means and of tails over the same pairs, with intervals; None without the rival."""
    if rival is None or "latent" not in rival.columns:
        return None
    count = min(len(ours.latent), len(rival.latent))
    arms = ours.first("latent", count), rival.first("latent", count)
    if not arms[1].any():
        return None
    return {
        "arm": rival.arm.name,
        "share": rival.share,
        "pairs": count,
        "mean": asdict(ratio(*arms)),
        "tail": asdict(ratio(*arms, tail_mean)),
    }


def judged(found: Outcomes) -> dict[str, Report]:
    """Ours at the judged budget against the unabridged run, by figure; one-sided 95 %, margin a point."""
    ours, full = found.get(f"{OURS}@{JUDGED_BUDGET:g}"), found.get(FULL)
    if ours is None or full is None:
        return {}
    count = min(len(ours.columns["everything"]), len(full.columns["everything"]))
    result = {}
    for figure in ("object", "everything"):
        arms = ours.first(figure, count), full.first(figure, count)
        verdict = non_inferiority(*arms)
        shares = {"ours": float(arms[0].mean()), "full": float(arms[1].mean())}
        result[figure] = {"pairs": count, **shares, **asdict(verdict), "holds": verdict.holds}
    return result


def safety(found: Outcomes) -> list[Report]:
    """How many images of ours lie beyond .15, and the worst, by budget."""
    ours = [outcome for outcome in found.values() if outcome.arm.line == OURS]
    return [
        {
            "budget": outcome.arm.fraction,
            "pairs": len(outcome.latent),
            "far": int((outcome.latent > FAR).sum()),
            "worst": float(outcome.latent.max()),
        }
        for outcome in ours
    ]


def aims(compared: Sequence[Report], judge: Mapping[str, Report], safe: Sequence[Report]) -> list[Report]:
    """What must be shown, each with what was found and whether that is enough (None: not measured)."""
    found = [
        _aim(f"{figure} at {JUDGED_BUDGET:g}: judge", each["low"], -0.01, each["low"] > -0.01)
        for figure, each in judge.items()
    ]
    for each in compared:
        if each["budget"] <= 0.5:
            found += [
                _at_most(f"peers at {each['budget']:g}: mean", each["peers"]["ratio"], 0.5),
                _at_most(f"static at {each['budget']:g}: mean", _estimate(each["static"], "mean"), 1.0),
                _at_most(f"static at {each['budget']:g}: tail", _estimate(each["static"], "tail"), 0.75),
            ]
    kept = [each for each in safe if each["budget"] >= 0.25]
    return found + [_at_most(f"images beyond {FAR:g} at {each['budget']:g}", each["far"], 0) for each in kept]


def _estimate(compared: Report | None, figure: str) -> float | None:
    return None if compared is None else compared[figure]["estimate"]


def _at_most(name: str, value: float | None, limit: float) -> Report:
    return _aim(name, value, limit, None if value is None else value <= limit)


def _aim(name: str, value: float | None, limit: float, met: bool | None) -> Report:
    return {"aim": name, "found": value, "limit": limit, "met": met}


def _family(found: Outcomes, families: Sequence[str]) -> list[Outcome]:
    return [each for each in found.values() if each.arm.group in families and "latent" in each.columns]
