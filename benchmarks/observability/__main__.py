"""Whether everything that should be seen of the system can be seen, by a real Prometheus.

    python -m benchmarks.observability [--minutes 5] [--every 6] [--no-drills]

Watch: Valkey, gateway and worker (flux-tiny) under a mixed load, a request every `--every` seconds (several
budgets and methods, deadlines, OpenAI's route, mistakes, cancels), scraped for `--minutes`. Then every
expression of every panel, rule and alert is asked over that time. Each must return data, or be zero or empty
for a reason that stands beside it in the code.
Drill: four things go wrong (overload, a poison job, a stopped worker, Redis killed), under the same rules at
`--pace` 30, and the alerts that are for it must fire.
Overhead: processor time of a 28-step picture and of its metrics. Limit 1 %.

Needs `prometheus` (Debian package). Writes docs/results/observability.json, .md, and .png: one small plot a
panel's query. The last line is one JSON object; the exit code says whether all held.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.observability.coverage import Asked, ask_all
from benchmarks.observability.drills import OBJECTIVES, PACE, drill
from benchmarks.observability.overhead import measure
from benchmarks.observability.plot import draw
from benchmarks.observability.prometheus import Prometheus
from benchmarks.observability.system import MODEL, PROMPT, WatchedSystem, each
from benchmarks.reports import RESULTS, machine, publish
from deploy.observability.objectives import Objectives

SCRAPE_S = 5
RATE_WINDOW = "1m"
BURST_EVERY, BURST = 25, 24
"""More than a worker runs at once, so that there is a queue to be seen."""


async def one_request(system: WatchedSystem, number: int) -> None:
    """The load's next request: seven kinds in turn, and now and then a burst."""
    kind = number % 7
    if number % BURST_EVERY == 7:
        await asyncio.gather(*(system.submit(steps=4) for _ in range(BURST)))
    if kind == 0:
        await system.submit(steps=8)
    elif kind == 1:
        await system.submit(budget=0.5, deadline_s=120)
    elif kind == 2:
        await system.submit(budget={"fraction": 0.5, "methods": ["speca"]}, steps=16)
    elif kind == 3:
        await system.submit(budget={"fraction": 0.35, "mode": "hard"})
    elif kind == 4:
        body = {"model": MODEL, "prompt": PROMPT, "quality": "low"}
        await system.http.post("/v1/images/generations", json=body, headers={"Prefer": "respond-async"})
    elif kind == 5:
        await system.http.post(
            "/v1/generations", json={"model": MODEL, "input": {"prompt": ""}, "colour": "red"}
        )
    else:
        job_id = await system.submit(steps=100)
        await system.http.post(f"/v1/generations/{job_id}/cancel")


async def watch(system: WatchedSystem, prometheus: Prometheus, options: argparse.Namespace) -> list[Asked]:
    """Load for so long, then ask."""
    started = time.time()
    async for number in each(options.every, 60 * options.minutes):
        await one_request(system, number)
    last = await system.submit(steps=2)
    await system.ended(last)
    await asyncio.sleep(2 * SCRAPE_S)
    return await asyncio.to_thread(ask_all, prometheus, started, time.time(), SCRAPE_S, RATE_WINDOW)


async def run(options: argparse.Namespace, folder: Path) -> tuple[list[Asked], list[dict[str, Any]]]:
    async with WatchedSystem(folder) as system:
        prometheus = Prometheus(folder, system.targets)
        prometheus.configure(Objectives(), SCRAPE_S)
        with prometheus:
            asked = await watch(system, prometheus, options)
            drills = [] if options.no_drills else await drill(system, prometheus)
    return asked, drills


def page(report: dict[str, Any]) -> str:
    """The tables for people."""
    answers = report["answers"]
    lines = [
        f"`{report['command']}`",
        "",
        f"{report['machine']}. {report['expressions']} expressions: {answers['data']} returned data, "
        f"{answers['zero']} zeros and {answers['nothing']} nothing, each for the reason below; "
        f"unaccounted for: {report['unaccounted_for'] or 'none'}.",
        "",
        "![one small plot a panel's query](observability.png)",
        "",
        "| where | what | answer | why |",
        "|---|---|---|---|",
    ]
    quiet = [one for one in report["asked"] if one["answer"] != "data" and one["where"] != "alerts"]
    lines += [f"| {one['where']} | {one['name']} | {one['answer']} | {one['reason']} |" for one in quiet]
    lines += ["", f"Drills, at pace {PACE:g}:", "", "| what | alert | fired after s |", "|---|---|---|"]
    lines += [
        f"| {one['what']} | {name} | {seconds if seconds is not None else 'never'} |"
        for one in report["drills"]
        for name, seconds in one["seconds_to_alert"].items()
    ]
    cost = report["overhead"]
    lines += [
        "",
        f"Metrics of a {cost['steps']}-step picture: {cost['share']:.2%} of its processor time (limit 1 %).",
        "",
    ]
    return "\n".join(lines)


def report_of(
    options: argparse.Namespace, asked: list[Asked], drills: list[dict[str, Any]], cost: dict[str, Any]
) -> dict[str, Any]:
    answers = [one.answer for one in asked]
    drilled = "" if drills else " --no-drills"
    return {
        "command": f"python -m benchmarks.observability --minutes {options.minutes:g}"
        f" --every {options.every:g}{drilled}",
        "benchmark": "observability",
        "machine": machine(),
        "expressions": len(asked),
        "answers": {kind: answers.count(kind) for kind in ("data", "zero", "nothing")},
        "unaccounted_for": [f"{one.where}: {one.name}" for one in asked if not one.accounted_for],
        "pace": PACE,
        "drill_objectives": {
            "images_s": OBJECTIVES.images_s,
            "queue_deadline_s": OBJECTIVES.queue_deadline_s,
        },
        "drills": drills,
        "overhead": cost,
        "asked": [one.line() for one in asked],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--every", type=float, default=6, help="seconds between two requests")
    parser.add_argument("--no-drills", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rheostat-") as folder:
        asked, drills = asyncio.run(run(options, Path(folder)))
    report = report_of(options, asked, drills, measure(MODEL))
    publish(report, page(report), options.out)
    draw(asked, options.out / "observability.png", f"{report['command']}: every query of every panel")
    fired = all(seconds is not None for one in drills for seconds in one["seconds_to_alert"].values())
    cheap = report["overhead"]["share"] <= report["overhead"]["limit"]
    return 0 if fired and cheap and not report["unaccounted_for"] else 1


if __name__ == "__main__":
    sys.exit(main())
