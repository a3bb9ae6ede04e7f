"""The gateway's own time series, in a registry of its own so that two gateways can share a process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from protocol import metrics as names
from protocol.errors import Unavailable
from protocol.jobqueue import Catalog, JobQueue
from protocol.metrics import Metric
from protocol.receipts import MFLOP_PER_TFLOP

GAUGES = (names.QUEUE_JOBS, names.OUTSTANDING, names.OLDEST_JOB, names.MODEL_SPEED, names.DEAD_JOBS)


class GatewayMetrics:
    """Counts what goes over HTTP; the queue's gauges are read from Redis when somebody scrapes."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.http_requests = self._counter(names.HTTP_REQUESTS)
        self.shed = self._counter(names.SHED)
        self.jobs = self._counter(names.JOBS)
        self._redis_up = self._gauge(names.REDIS_UP)
        self._gauges = {metric.name: self._gauge(metric) for metric in GAUGES}

    async def render(self, jobqueue: JobQueue, catalog: Catalog) -> bytes:
        """The text Prometheus reads. Never fails for want of Redis: it says so in `rheostat_redis_up`."""
        try:
            await self._read_queue(jobqueue, catalog)
            self._redis_up.set(1)
        except Unavailable:
            self._clear()
            self._redis_up.set(0)
        return generate_latest(self._registry)

    async def _read_queue(self, jobqueue: JobQueue, catalog: Catalog) -> None:
        loads = [(entry, await jobqueue.load(entry.name)) for entry in await catalog.all()]
        self._clear()
        for entry, load in loads:
            outstanding = (load.queued_units + load.running_units) / MFLOP_PER_TFLOP
            self._set(names.QUEUE_JOBS, entry.name, load.queued_jobs)
            self._set(names.OUTSTANDING, entry.name, outstanding)
            self._set(names.OLDEST_JOB, entry.name, load.oldest_ms / 1000)
            self._set(names.MODEL_SPEED, entry.name, entry.tflops_per_second)
            self._set(names.DEAD_JOBS, entry.name, load.dead)

    def _set(self, metric: Metric, model: str, value: float) -> None:
        self._gauges[metric.name].labels(model).set(value)

    def _clear(self) -> None:
        for gauge in self._gauges.values():
            gauge.clear()

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self._registry)

    def _gauge(self, metric: Metric) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self._registry)
