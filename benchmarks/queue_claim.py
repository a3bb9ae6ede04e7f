"""What a claim costs, by the length of the queue (at 100,000 at most 1.3 times that at 10).

    python -m benchmarks.queue_claim [--rounds 300] [--sizes 10,100,1000,10000,100000]

Measured: `JobQueue.claim` for one job, from the call to the decoded answer, against an embedded Valkey, once
as it is run (synced before it answers) and once with `appendfsync no`, so that the sync cannot hide a trend.
The queues of all lengths are models of one server and are claimed from in turn, so that whatever else the
machine does hits all alike; after each claim the job is handed back, untimed. The floor is a SET on the same
server: the round trip and the sync that any write pays. Writes docs/results/queue_claim.json and .md; the
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import secrets
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from protocol import wire
from protocol.jobqueue import JobKey, JobQueue, NewJob, QueueSettings
from protocol.jobs import GenerationInput, GenerationRequest
from server.valkey import EmbeddedValkey

RESULTS = Path(__file__).parent.parent / "docs" / "results"
BATCH = 500
WARM_UP = 20
SYNCS = ("always", "no")
LIMIT = 1.3


class Scenario(NamedTuple):
    """A queue of `jobs` from `tenants` callers at `priorities` priorities."""

    jobs: int
    tenants: int
    priorities: int

    @property
    def model(self) -> str:
        return f"queue-{self.jobs}-{self.tenants}-{self.priorities}"


def new_job(scenario: Scenario, index: int) -> NewJob:
    request = GenerationRequest(
        model=scenario.model,
        input=GenerationInput(prompt="two red apples on a blue background", width=64, height=64, seed=index),
        priority=index % scenario.priorities - scenario.priorities // 2,
    )
    return NewJob(
        key=JobKey(f"tenant{index % scenario.tenants}", f"{scenario.model}-{index}"),
        request=request,
        fingerprint="f" * 64,
        model=scenario.model,
        digest="d" * 64,
        full_mflop=10**6,
        granted_mflop=10**6,
        units=10**6,
        mem_bytes=1,
        plan_steps=28,
        # Half of them can still be in time, half are late.
        due_ms=int(time.time() * 1000) + (index % 2 or -1) * 10**7 + index,
    )


async def fill(queue: JobQueue, scenario: Scenario) -> None:
    """Submit in pipelines: one sync for many."""
    for start in range(0, scenario.jobs, BATCH):
        jobs = [new_job(scenario, index) for index in range(start, min(start + BATCH, scenario.jobs))]
        calls = [(0, wire.encode_submission(job, secrets.token_hex(8))) for job in jobs]
        answers = await queue._run_many("submit", calls)
        assert all(answer[0] == b"ok" for answer in answers)


async def timed_claim(queue: JobQueue, scenario: Scenario) -> float:
    token = secrets.token_hex(16)
    start = time.perf_counter()
    claim = await queue.claim("bench", token, [scenario.model], 100, 1)
    took = time.perf_counter() - start
    await queue.release(claim.jobs[0].key, token)
    return took * 1000


async def timed_set(queue: JobQueue) -> float:
    start = time.perf_counter()
    await queue.redis.set("rh:floor", "x")
    return (time.perf_counter() - start) * 1000


async def measure(url: str, scenarios: list[Scenario], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Times in ms by sync mode and scenario."""
    queue = await JobQueue.connect(url, QueueSettings(max_queued_jobs=10**6))
    for scenario in scenarios:
        await fill(queue, scenario)
    times = {}
    for sync in SYNCS:
        await queue.redis.config_set("appendfsync", sync)
        times[sync] = await take_turns(queue, scenarios, rounds)
    await queue.close()
    return times


async def take_turns(queue: JobQueue, scenarios: list[Scenario], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"floor": [], **{scenario.model: [] for scenario in scenarios}}
    for _ in range(WARM_UP + rounds):
        times["floor"].append(await timed_set(queue))
        for scenario in scenarios:
            times[scenario.model].append(await timed_claim(queue, scenario))
    return {name: taken[WARM_UP:] for name, taken in times.items()}


def summary(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {"p50_ms": round(cuts[49], 4), "p95_ms": round(cuts[94], 4), "p99_ms": round(cuts[98], 4)}


def rows_of(scenarios: list[Scenario], times: dict[str, list[float]]) -> list[dict[str, Any]]:
    rows = [{**scenario._asdict(), **summary(times[scenario.model])} for scenario in scenarios]
    return [{**row, "ratio": round(row["p50_ms"] / rows[0]["p50_ms"], 3)} for row in rows]


def report(
    scenarios: list[Scenario], times: dict[str, dict[str, list[float]]], rounds: int
) -> dict[str, Any]:
    runs = {
        sync: {"floor_set": summary(taken["floor"]), "rows": rows_of(scenarios, taken)}
        for sync, taken in times.items()
    }
    return {
        "benchmark": "queue_claim",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rounds": rounds,
        "appendfsync": runs,
        "worst_ratio": max(row["ratio"] for run in runs.values() for row in run["rows"]),
        "limit": LIMIT,
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        "# What a claim costs",
        "",
        f"`python -m benchmarks.queue_claim`, {result['rounds']} claims a row, {result['machine']}.",
        "One job a claim; the floor is a bare SET. Ratio: the median to that of the first row; the limit is"
        f" {result['limit']}.",
        "",
        "| appendfsync | queued jobs | tenants | priorities | p50 ms | p95 ms | p99 ms | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for sync, run in result["appendfsync"].items():
        lines.append(f"| {sync} | floor | | | {_times(run['floor_set'])} | |")
        lines += [
            f"| {sync} | {row['jobs']:,} | {row['tenants']:,} | {row['priorities']} | {_times(row)}"
            f" | {row['ratio']:.2f} |"
            for row in run["rows"]
        ]
    return "\n".join([*lines, ""])


def _times(row: dict[str, Any]) -> str:
    return f"{row['p50_ms']:.2f} | {row['p95_ms']:.2f} | {row['p99_ms']:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--sizes", default="10,100,1000,10000,100000")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    scenarios = [Scenario(size, 1, 1) for size in sizes] + [Scenario(sizes[-1], 2_000, 5)]
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey(Path(folder)) as valkey:
        times = asyncio.run(measure(valkey.url, scenarios, options.rounds))
    result = report(scenarios, times, options.rounds)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "queue_claim.json").write_text(json.dumps(result, indent=2) + "\n")
    (RESULTS / "queue_claim.md").write_text(table(result))
    print(table(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
