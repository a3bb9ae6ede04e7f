"""How long a dead engine or a dead supervisor holds a job up, and what it costs.

Measured, because "every accepted job ends exactly once" is only worth something if it ends soon: the engine
process is SIGKILLed at random steps (the supervisor stays), then whole workers are (a second one stands by).
Each job must end once, on its second attempt, with the bytes of a calm run.

Ceilings: an engine restart cannot be faster than fork, load and warm-up of the model; a job starts again no
    sooner than its back-off after a crash (`backoff_ms`), and after a supervisor's death no sooner than its
    lease runs out.

    python -m benchmarks.recovery [--kills 20] [--supervisors 5] [--out docs/results/recovery.json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from protocol.events import TERMINAL_TYPES
from protocol.records import JobKey, JobRecord
from server.valkey import EmbeddedValkey
from tests.plugins.flux import build_flux
from tests.system.harness import BACKOFF_S, LEASE_TTL_S, LONG, MODEL, Desk, WorkerProgram, until

SEED = 7


class Scene:
    """One Valkey, one worker, one calm picture to compare with."""

    def __init__(self, folder: Path, redis_url: str, desk: Desk) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.desk = desk
        self.dice = random.Random(SEED)
        self.calm: JobRecord | None = None

    async def worker(self, name: str) -> WorkerProgram:
        worker = WorkerProgram(
            self.folder,
            self.redis_url,
            self.folder / "checkpoints",
            name,
            artifacts=self.folder / "artifacts",
        )
        worker.start()
        await worker.ready(self.desk.catalog)
        return worker

    async def check(self, key: JobKey) -> dict[str, Any]:
        """What must hold of a job that was hurt."""
        record = await self.desk.ended(key)
        assert self.calm is not None
        ends = [event.type for event in await self.desk.events(key) if event.type in TERMINAL_TYPES]
        return {
            "attempts": record.attempts,
            "status": record.status.value,
            "terminal_events": len(ends),
            "bytes_equal": [one.sha256 for one in record.artifacts]
            == [one.sha256 for one in self.calm.artifacts],
        }

    async def kill_engine(self, worker: WorkerProgram) -> dict[str, Any]:
        key = await self.desk.submit("hurt", seed=SEED)
        step = self.dice.randrange(1, LONG - 40)
        await self.desk.running(key, step=step)
        ready_before = worker.log.read_text().count("is ready")
        engine = worker.engine
        assert engine is not None
        engine.kill()
        killed = time.monotonic()

        async def look() -> bool:
            return worker.log.read_text().count("is ready") > ready_before

        await until(look, "restart")
        ready_s = time.monotonic() - killed
        await self.desk.running(key, attempt=2)
        running_s = time.monotonic() - killed
        return {"step": step, "ready_s": ready_s, "running_s": running_s, **await self.check(key)}

    async def kill_supervisor(self, doomed: WorkerProgram, spare: WorkerProgram) -> dict[str, Any]:
        """The worker dies while a second stands by, which is paused only so that the job begins on the
        first."""
        with spare.paused():
            key = await self.desk.submit("hurt", seed=SEED)
            await self.desk.running(key)
        doomed.kill()
        killed = time.monotonic()
        await self.desk.running(key, attempt=2)
        return {"running_s": time.monotonic() - killed, **await self.check(key)}


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    build_flux(folder / "checkpoints" / MODEL)
    with EmbeddedValkey(folder / "valkey") as valkey:
        desk = await Desk.open(valkey.url)
        closing = asyncio.Event()
        reaping = asyncio.create_task(desk.reap_until(closing))
        scene = Scene(folder, valkey.url, desk)
        worker = await scene.worker("worker-0")
        scene.calm = await desk.ended(await desk.submit("calm", seed=SEED))
        engines = [await scene.kill_engine(worker) for _ in range(options.kills)]
        supervisors = []
        for index in range(options.supervisors):
            spare = await scene.worker(f"worker-{index + 1}")
            supervisors.append(await scene.kill_supervisor(worker, spare))
            worker = spare
        await desk.assert_nothing_left()
        worker.close()
        closing.set()
        await reaping
        await desk.close()
    return {"engine_killed": engines, "supervisor_killed": supervisors}


def summary(runs: list[dict[str, Any]], *columns: str) -> dict[str, Any]:
    sound = all(
        (run["attempts"], run["status"], run["terminal_events"], run["bytes_equal"])
        == (2, "completed", 1, True)
        for run in runs
    )
    spread = {
        column: {
            "median": round(statistics.median(run[column] for run in runs), 3),
            "max": round(max(run[column] for run in runs), 3),
        }
        for column in columns
    }
    return {"runs": len(runs), "all_sound": sound, **spread}


def show(measured: dict[str, list[dict[str, Any]]]) -> None:
    """A table for people, a line a kill."""
    print(
        f"{'killed':18}{'at step':>8}{'ready again s':>15}{'running again s':>17}{'attempts':>10}{'equal':>7}"
    )
    for kind, runs in measured.items():
        for run in runs:
            ready = f"{run['ready_s']:.2f}" if "ready_s" in run else "-"
            print(f"{kind:18}{run.get('step', '-')!s:>8}{ready:>15}{run['running_s']:>17.2f}", end="")
            print(f"{run['attempts']:>10}{run['bytes_equal']!s:>7}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--supervisors", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(measure(options, Path(folder)))
    show(measured)
    result = {
        "command": f"python -m benchmarks.recovery --kills {options.kills}"
        f" --supervisors {options.supervisors}",
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "lease_ttl_s": LEASE_TTL_S,
        "backoff_s": BACKOFF_S,
        "engine_killed": summary(measured["engine_killed"], "ready_s", "running_s"),
        "supervisor_killed": summary(measured["supervisor_killed"], "running_s"),
    }
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
