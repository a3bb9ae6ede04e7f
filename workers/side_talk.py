"""What goes on between a worker and Redis beside claims, events and commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from protocol import keys, metrics, wire
from protocol.events import Step
from protocol.jobqueue import Catalog, ClaimedJob, JobQueue
from workers.meter import Meter
from workers.patience import patiently
from workers.speed import Speedometer

_SPEED_EVERY_S = 10.0
_MEMORY_EVERY_S = 5.0


async def hear_cancels(queue: JobQueue, worker: str, cancel: Callable[[str], None]) -> None:
    """Call `cancel` with the name of each job the queue wants stopped, for ever.

    Pushed, so that a running job stops at its next step; what is missed comes with the next renewal.
    """
    async for name in queue.watch_worker(worker):
        cancel(name)


async def lost_tflops(queue: JobQueue, job: ClaimedJob) -> float:
    """What killed attempts of the job had told of: steps of the last moments before a death are not in it."""
    if job.attempt == 1:
        return 0.0
    base = keys.prefix(keys.partition_of(job.key.tenant, queue.settings.partitions))
    entries = await queue.redis.xrange(keys.key(base, "ev", str(job.key)))
    events = (wire.decode_entry(entry_id, fields).event for entry_id, fields in entries)
    return sum(one.tflops for one in events if isinstance(one, Step) and one.attempt < job.attempt)


async def tell_speed(queue: JobQueue, models: Collection[str], speed: Speedometer, meter: Meter) -> None:
    """Keep the catalog's and the gauge's speed true, for ever."""
    catalog = Catalog(queue)
    while True:
        for model in models:
            measured = speed.of(model)
            meter.add(metrics.WORKER_SPEED, measured, model)
            await patiently(partial(catalog.set_speed, model, measured), "speed")
        await asyncio.sleep(_SPEED_EVERY_S)


async def tell_memory(free_bytes: Callable[[], int], meter: Meter) -> None:
    """Keep the gauge of free memory true, for ever."""
    while True:
        meter.add(metrics.WORKER_FREE, free_bytes())
        await asyncio.sleep(_MEMORY_EVERY_S)
