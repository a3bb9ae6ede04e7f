"""Deadlines kept and GPU hours paid by our scaler's formula and by scaling on jobs, on a simulated day.

    python -m benchmarks.autoscale [--days 2] [--out docs/results]

Three classes of workers: one that serves pictures and videos, one for each alone. Pictures come by day, with
bursts, drafts before lunch and finals after; videos in the evening. Every way of scaling is swept over its
targets on the same days. The ceiling is the work itself. Deterministic; about a minute of processor time.
Writes autoscale.json, .md and .png; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from benchmarks.autoscale.cluster import Cluster, Outcome
from benchmarks.autoscale.day import PICTURES, VIDEOS, Job, Kind, jobs_of
from benchmarks.autoscale.policies import Setting, settings_for
from benchmarks.autoscale.report import draw, markdown
from benchmarks.reports import RESULTS, publish

FLEETS: dict[str, tuple[Kind, ...]] = {
    "Pictures and videos on one class": (PICTURES, VIDEOS),
    "Pictures alone": (PICTURES,),
    "Videos alone": (VIDEOS,),
}


def row_of(setting: Setting, outcomes: list[Outcome]) -> dict[str, Any]:
    """The days' means."""
    kinds = outcomes[0].asked
    return {
        "family": setting.family,
        "setting": setting.label,
        "gpu_hours": round(statistics.mean(one.gpu_hours for one in outcomes), 2),
        "least_hits": round(min(statistics.mean(one.hits(kind) for one in outcomes) for kind in kinds), 4),
        "hits": {kind: round(statistics.mean(one.hits(kind) for one in outcomes), 4) for kind in kinds},
        "most_pods": max(one.most_pods for one in outcomes),
    }


def fleet(name: str, kinds: tuple[Kind, ...], num_days: int) -> dict[str, Any]:
    """All settings on the same days."""
    days: list[list[Job]] = [jobs_of(kinds, seed) for seed in range(num_days)]
    rows = [
        row_of(one, [Cluster(day, one.policy(), seed=seed).run() for seed, day in enumerate(days)])
        for one in settings_for(kinds)
    ]
    count = {
        kind.name: sum(job.kind == kind.name for day in days for job in day) // num_days for kind in kinds
    }
    work_h = sum(job.seconds for day in days for job in day) / 3600 / num_days
    return {"name": name, "jobs": count, "busy_hours": round(work_h, 2), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    fleets = [fleet(name, kinds, options.days) for name, kinds in FLEETS.items()]
    report = {"benchmark": "autoscale", "days": options.days, "fleets": fleets}
    publish(report, markdown(report), options.out)
    draw(report, options.out / "autoscale.png")


if __name__ == "__main__":
    main()
