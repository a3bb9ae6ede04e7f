"""Rows to curves over seeds, gaps, and verdicts. All is arithmetic on the rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workers.training.jlt.settings import JltSettings

Row = Mapping[str, Any]
FIGURES = ("kid", "object", "background")
WANTED_GAIN = 0.22
TARGETS = ("x0", "flow")


def summary(rows: Sequence[Row], settings: JltSettings) -> dict[str, Any]:
    """Curves, what each target comes to at its own best guidance, the gaps, and what was asked."""
    paired, last = [row for row in rows if is_paired(row)], max(row["step"] for row in rows)
    guidance = settings.sampling.guidance
    final = [row for row in rows if (row["step"], row["guidance"]) == (last, guidance)]
    gaps = {
        "paired": gap([row for row in final if is_paired(row)]),
        "best_guidance": gap(at_best_guidance(row for row in paired if row["step"] == last)),
        **{name: gap([row for row in final if chosen(row)]) for name, chosen in _groups(settings).items()},
    }
    return {"curves": curves(paired, guidance), "gaps": gaps, **verdicts(gaps)}


def curves(rows: Sequence[Row], guidance: float) -> list[dict[str, Any]]:
    """Mean, least and most over seeds, by target and step."""
    found = []
    for target in TARGETS:
        for step in sorted({row["step"] for row in rows}):
            here = [
                row
                for row in rows
                if (row["target"], row["step"], row["guidance"]) == (target, step, guidance)
            ]
            found.append({"target": target, "step": step, "seeds": len(here), **_spreads(here)})
    return found


def gap(rows: Sequence[Row]) -> dict[str, Any]:
    """KID of the flow over that of x0, means over seeds (above 1: x0 is better), and the gain 1 - x0 / flow.

    `by_seed` has the same ratio of each pair.
    """
    by_target = {
        target: {row["seed"]: row["kid"] for row in rows if row["target"] == target} for target in TARGETS
    }
    clean, flow = (statistics.fmean(by_target[target].values()) for target in TARGETS)
    pairs = [by_target["flow"][seed] / kid for seed, kid in sorted(by_target["x0"].items())]
    return {
        "x0": round(clean, 6),
        "flow": round(flow, 6),
        "ratio": round(flow / clean, 4),
        "gain": round(1 - clean / flow, 4),
        "by_seed": [round(pair, 4) for pair in pairs],
    }


def at_best_guidance(rows: Any) -> list[Row]:
    """The rows of each target at the weight whose mean KID over seeds is least."""
    given, kept = list(rows), []
    for target in TARGETS:
        own = [row for row in given if row["target"] == target]
        means = {
            weight: statistics.fmean(row["kid"] for row in own if row["guidance"] == weight)
            for weight in {row["guidance"] for row in own}
        }
        best = min(means, key=lambda weight: means[weight])
        kept += [row for row in own if row["guidance"] == best]
    return kept


def verdicts(gaps: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, and whether it is so; a no is a result, not an error."""
    alone = gaps["first_seed"]["ratio"]
    asked = {
        f"x0 is better by at least {100 * WANTED_GAIN:.0f} % in KID": gaps["paired"]["gain"] >= WANTED_GAIN,
        "so it is with each target at its own best guidance": gaps["best_guidance"]["gain"] >= WANTED_GAIN,
        "x0 is better in every seed": min(gaps["paired"]["by_seed"]) > 1,
        "whitened latents shrink the gap": gaps["whitened"]["ratio"] < alone,
        "a free skip shrinks the gap": gaps["skip"]["ratio"] < alone,
    }
    return {"verdicts": asked, "passed": all(asked.values())}


def is_paired(row: Row) -> bool:
    """Whether it is of the main experiment and of no control."""
    return row["latents"] == "plain" and not row["skip"] and not row["centred"]


def is_control(row: Row, control: str) -> bool:
    """Whether it is of the control "whitened" or "skip"."""
    return bool(row["skip"]) if control == "skip" else row["latents"] == control


def _groups(settings: JltSettings) -> dict[str, Callable[[Row], bool]]:
    first = settings.seeds[0]
    return {
        "first_seed": lambda row: is_paired(row) and row["seed"] == first,
        "whitened": lambda row: is_control(row, "whitened"),
        "skip": lambda row: is_control(row, "skip"),
    }


def _spreads(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    spreads = {}
    for figure in FIGURES:
        numbers = [row[figure] for row in rows]
        spreads[figure] = {
            "mean": round(statistics.fmean(numbers), 6),
            "deviation": round(statistics.stdev(numbers), 6) if len(numbers) > 1 else 0.0,
            "least": min(numbers),
            "most": max(numbers),
        }
    return spreads
