"""Things that go wrong, for real, and the alerts that must say so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.observability.prometheus import Prometheus
from benchmarks.observability.system import WatchedSystem
from deploy.observability.objectives import Objectives

PACE = 30.0
OBJECTIVES = Objectives(pace=PACE, images_s=3, queue_deadline_s=5, least_requests=5)
"""Windows of an hour are two minutes; a picture is late after 3 s, a queue overdue after 5 s."""
EVERY_S = 1
PATIENCE_S = 150.0
OVERLOAD = 30
POISON_KILLS = 6
"""More than are needed (two in company, two alone)."""

Hurt = Callable[[WatchedSystem], Awaitable[None]]


async def overload(system: WatchedSystem) -> None:
    """Many jobs at once."""
    await asyncio.gather(*(system.submit(steps=8) for _ in range(OVERLOAD)))


async def poison(system: WatchedSystem) -> None:
    """A job whose every attempt kills its engine, until it is given up."""
    job_id = await system.submit(steps=1000)
    for _ in range(POISON_KILLS):
        if not await system.kill_engine_under(job_id):
            return


async def stop_worker(system: WatchedSystem) -> None:
    """The only worker leaves, and somebody asks for a picture."""
    await system.stop_worker()
    await system.submit(steps=4)


async def kill_redis(system: WatchedSystem) -> None:
    """SIGKILL, as the out-of-memory killer does."""
    system.valkey.kill()


async def calm_down(system: WatchedSystem) -> None:
    """Nothing to bring back; let the queue run empty."""
    await system.ended(await system.submit(steps=2))


async def start_worker(system: WatchedSystem) -> None:
    """And have it run what waited."""
    system.worker.start()
    await system.ready()
    await calm_down(system)


async def start_redis(system: WatchedSystem) -> None:
    """On its append-only file."""
    system.valkey.start()
    await system.ready()


DRILLS: tuple[tuple[Hurt, Hurt, tuple[str, ...]], ...] = (
    (overload, calm_down, ("RheostatQueueOverdue", "RheostatLatencyBurnsFast")),
    (poison, calm_down, ("RheostatWorkerFlaps", "RheostatDeadLetters")),
    (stop_worker, start_worker, ("RheostatScrapeMissing", "RheostatNobodyServes")),
    (kill_redis, start_redis, ("RheostatRedisDown",)),
)


async def drill(system: WatchedSystem, prometheus: Prometheus) -> list[dict[str, Any]]:
    """Hurt the system in each way and wait for the alerts; one line each."""
    prometheus.configure(OBJECTIVES, EVERY_S)
    lines = []
    for hurt, heal, expected in DRILLS:
        before, started = prometheus.firing(), time.monotonic()
        hurting = asyncio.create_task(hurt(system))
        seconds = await _until_fired(prometheus, expected, started)
        await hurting
        await heal(system)
        lines.append(
            {
                "what": hurt.__name__,
                "fired_before": sorted(before),
                "seconds_to_alert": {name: seconds.get(name) for name in expected},
            }
        )
        print(lines[-1], flush=True)
    return lines


async def _until_fired(prometheus: Prometheus, expected: tuple[str, ...], started: float) -> dict[str, float]:
    """When each of them fired first, as far as they did."""
    seen: dict[str, float] = {}
    while len(seen) < len(expected) and time.monotonic() - started < PATIENCE_S:
        await asyncio.sleep(EVERY_S / 2)
        for name in prometheus.firing() & set(expected) - seen.keys():
            seen[name] = round(time.monotonic() - started, 1)
    return seen
