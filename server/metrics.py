"""The gateway's own time series: what goes over HTTP is counted, the queue's gauges are read when asked."""

from __future__ import annotations

import asyncio
import logging

from protocol import metrics as names
from protocol.catalog import CatalogEntry
from protocol.errors import Unavailable
from protocol.jobqueue import Catalog, JobQueue
from protocol.metrics import Metric, budget_label
from protocol.receipts import MFLOP_PER_TFLOP
from protocol.records import ModelLoad
from protocol.series import Page, Series
from protocol.states import JobStatus

GAUGES = (names.QUEUE_JOBS, names.OUTSTANDING, names.OLDEST_JOB, names.MODEL_SPEED, names.DEAD_JOBS)
READ_TIMEOUT_S = 3.0
"""Less than a scraper waits (Prometheus: 10 s): a Redis that hangs must show, and not as a missing scrape."""

log = logging.getLogger(__name__)


class GatewayMetrics:
    """What one gateway counts, and what it knows of the queue."""

    def __init__(self) -> None:
        self._series = Series(names.owned_by("gateway"))

    def answered(self, route: str, code: int) -> None:
        """Count an HTTP answer. `route` is its template, never a path."""
        self._series.add(names.HTTP_REQUESTS, 1, route, str(code))

    def shed(self, reason: str) -> None:
        """Count a request refused under load."""
        self._series.add(names.SHED, 1, reason)

    def ended(self, model: str, status: JobStatus) -> None:
        """Count a job that ended here, before any worker had it."""
        self._series.add(names.JOBS, 1, model, status)

    async def render(self, jobqueue: JobQueue, catalog: Catalog, accept: str = "") -> Page:
        """What Prometheus reads. Never fails for want of Redis: it says so in `rheostat_redis_up`.

        Args:
            accept: the scraper's Accept header; OpenMetrics where it asks for it.
        """
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                loads = [(entry, await jobqueue.load(entry.name)) for entry in await catalog.all()]
        except (Unavailable, TimeoutError) as error:
            log.warning("the queue cannot be read for metrics: %s", error or type(error).__name__)
            self._forget_queue()
            self._series.add(names.REDIS_UP, 0)
        else:
            self._forget_queue()
            for entry, load in loads:
                self._show(entry, load)
            self._series.add(names.REDIS_UP, 1)
        return self._series.page(accept)

    def _show(self, entry: CatalogEntry, load: ModelLoad) -> None:
        self._series.expect(entry.name, [budget_label(budget) for budget in entry.calibrated_budgets])
        self._set(names.QUEUE_JOBS, entry.name, load.queued_jobs)
        self._set(names.OUTSTANDING, entry.name, (load.queued_units + load.running_units) / MFLOP_PER_TFLOP)
        self._set(names.OLDEST_JOB, entry.name, load.oldest_ms / 1000)
        self._set(names.MODEL_SPEED, entry.name, entry.tflops_per_second)
        self._set(names.DEAD_JOBS, entry.name, load.dead)

    def _set(self, metric: Metric, model: str, value: float) -> None:
        self._series.add(metric, value, model)

    def _forget_queue(self) -> None:
        for metric in GAUGES:
            self._series.clear(metric)
