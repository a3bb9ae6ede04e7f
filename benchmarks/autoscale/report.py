"""Frontiers as a table and a plot: what each way of scaling pays for the deadlines it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.autoscale.policies import FAMILIES

LEVELS = (0.9, 0.95, 0.97, 0.99)
COLOURS = ("#9a9a9a", "#d08770", "#b48ead", "#a9c4e6", "#5b8fd0", "#174a8c")
COMMAND = "python -m benchmarks.autoscale"

Row = dict[str, Any]


def cheapest(rows: list[Row], family: str, level: float) -> Row | None:
    """The fewest GPU hours at which the worse kind still meets `level` of its deadlines."""
    able = [row for row in rows if row["family"] == family and row["least_hits"] >= level]
    return min(able, key=lambda row: row["gpu_hours"], default=None)


def frontier(rows: list[Row], family: str) -> list[Row]:
    """Settings no other of the family beats in both."""
    best, found = -1.0, []
    for row in sorted((row for row in rows if row["family"] == family), key=lambda row: row["gpu_hours"]):
        if row["least_hits"] > best:
            best = row["least_hits"]
            found.append(row)
    return found


def markdown(report: dict[str, Any]) -> str:
    lines = [
        f"`{COMMAND}`",
        "",
        "# Scaling on work against scaling on jobs, on a simulated day",
        "",
        INTRODUCTION,
    ]
    for fleet in report["fleets"]:
        lines += ["", f"## {fleet['name']}", "", fleet_line(fleet), "", *table(fleet["rows"])]
    return "\n".join([*lines, "", "![hits over GPU hours](autoscale.png)", "", LIMITS]) + "\n"


def fleet_line(fleet: dict[str, Any]) -> str:
    asked = ", ".join(f"{count:,} {kind}" for kind, count in fleet["jobs"].items())
    return f"{asked} a day on average; the work itself takes {fleet['busy_hours']:.1f} GPU hours."


def table(rows: list[Row]) -> list[str]:
    """GPU hours by family and level, with the setting that takes them."""
    lines = [
        "| scaled on | " + " | ".join(f"{level:.0%} of deadlines" for level in LEVELS) + " |",
        "|---|" + "---|" * len(LEVELS),
    ]
    for family in dict.fromkeys(row["family"] for row in rows):
        cells = [cell(cheapest(rows, family, level)) for level in LEVELS]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return lines


def cell(row: Row | None) -> str:
    return "not reached" if row is None else f"{row['gpu_hours']:.1f} h ({row['setting']})"


def points(rows: list[Row]) -> tuple[list[float], list[float]]:
    return [row["gpu_hours"] for row in rows], [row["least_hits"] for row in rows]


def draw(report: dict[str, Any], path: Path) -> None:
    """One panel a fleet: GPU hours, and the share of deadlines met by the kind that fares worse."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(report["fleets"]), figsize=(13, 4.4), layout="constrained")
    for axis, fleet in zip(axes, report["fleets"], strict=True):
        for colour, family in zip(COLOURS, FAMILIES, strict=True):
            every = [row for row in fleet["rows"] if row["family"] == family]
            axis.scatter(*points(every), s=9, color=colour, alpha=0.5)
            if every:
                axis.plot(*points(frontier(every, family)), "-o", ms=4, color=colour, label=family)
        axis.axvline(fleet["busy_hours"], color="black", lw=0.8, ls=":")
        reach = 2.2 * min(row["gpu_hours"] for row in fleet["rows"] if row["least_hits"] >= 0.95)
        axis.set(title=fleet["name"], xlabel="GPU hours a day", ylim=(0.8, 1.005), xlim=(0, reach))
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("deadlines met, by the kind that fares worse")
    axes[0].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


INTRODUCTION = """The fewest GPU hours a day at which the kind that fares worse still meets this share of its
deadlines (pictures 60 s, videos 900 s), over a sweep of each way's targets. In brackets the target: jobs a
pod, or seconds of work a pod. `work` is the chart's query, outstanding TFLOPs over target seconds times the
model's speed; `by model` gives each model of a class a target of its own; `with spare` asks besides that pods
be no busier than a share (`busyTarget`). `waiting jobs` is scaling on queue length; `all jobs` adds those
that run."""

LIMITS = """The dotted line is the work itself. Simulated, not run on a cluster: scrapes and decisions every
15 s, the HPA's tolerance, rates and windows as the chart sets them, starts of 90 to 210 s, one job a GPU at a
time, earliest deadline first. Batching, spot losses and wrong prices are left out."""
