"""The worker's metrics: one registry, in the supervisor, fed by the engine's datagrams.

Every evaluation counted in `rheostat_steps_total` stands in a receipt or in `rheostat_wasted_tflops_total`:
work that was told of and never settled is written off as `crash` when the engine process dies.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)
from pydantic import ValidationError

from protocol import metrics
from protocol.metrics import Metric
from protocol.states import WorkerState
from workers.meter import Amount, Dispatch, Work
from workers.told import Told

OWNED = (
    metrics.JOBS,
    metrics.STEPS,
    metrics.STEP_TFLOPS,
    metrics.BLOCKS,
    metrics.COMPUTE,
    metrics.WASTED,
    metrics.ATTEMPTS,
    metrics.STEP_SECONDS,
    metrics.REQUEST_SECONDS,
    metrics.QUEUE_SECONDS,
    metrics.STAGE_SECONDS,
    metrics.BUDGET_SPENT,
    metrics.BATCH_ROWS,
    metrics.CACHE_RISK,
    metrics.COST_ERROR,
    metrics.AUDIT_DISTANCE,
    metrics.AUDIT_PIXEL_DISTANCE,
    metrics.DEADLINE_SLACK,
    metrics.RUNNING_SAMPLES,
    metrics.WORKER_SPEED,
    metrics.CONTROLLER_THRESHOLD,
    metrics.WORKER_STATE,
)
_MAX_DATAGRAM = 1 << 20
_LOG = logging.getLogger("rheostat.worker.metrics")

Series = Counter | Gauge | Histogram


class PortTaken(RuntimeError):
    """The metrics port is somebody else's, or its address not ours."""


def _series(metric: Metric, registry: CollectorRegistry) -> Series:
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(metric.name, metric.help, metric.labels, registry=registry)


class WorkerMetrics:
    """The series a worker owns, and the work not yet settled."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._series = {metric.name: _series(metric, self.registry) for metric in OWNED}
        self._unsettled: dict[str, dict[str, float]] = {}

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve the registry over HTTP; returns what ends it.

        Raises:
            PortTaken: the address cannot be listened on.
        """
        try:
            server, thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise PortTaken(f"metrics cannot be served at {host}:{port}: {error.strerror}") from error
        _LOG.info("metrics are at http://%s:%d/metrics", host, server.server_port)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop

    def show_state(self, state: WorkerState) -> None:
        """Set the gauge of `state` to 1 and of all others to 0."""
        for one in WorkerState:
            self._apply(Amount(metric=metrics.WORKER_STATE.name, labels=(one,), value=float(one is state)))

    def receive(self, dispatch: Dispatch) -> None:
        """Take in one datagram of the engine."""
        for amount in dispatch.amounts:
            self._apply(amount)
        for work in dispatch.work:
            self._count(work)
        for settled in dispatch.settled:
            spent = self._unsettled.pop(settled.job, {})
            if settled.waste is not None:
                self._write_off(spent, settled.waste)

    def _count(self, work: Work) -> None:
        for metric, value in (
            (metrics.STEPS, 1.0),
            (metrics.STEP_TFLOPS, work.tflops),
            (metrics.STEP_SECONDS, work.seconds),
        ):
            self._apply(Amount(metric=metric.name, labels=(work.model, work.action), value=value))
        for outcome, blocks in (("run", work.blocks_run), ("skipped", work.blocks_total - work.blocks_run)):
            self._apply(Amount(metric=metrics.BLOCKS.name, labels=(work.model, outcome), value=blocks))
        by_model = self._unsettled.setdefault(work.job, {})
        by_model[work.model] = by_model.get(work.model, 0.0) + work.tflops

    def engine_died(self) -> None:
        """Write off what the dead engine process had not settled."""
        for spent in self._unsettled.values():
            self._write_off(spent, "crash")
        self._unsettled.clear()
        running = self._series[metrics.RUNNING_SAMPLES.name]
        running.clear()

    def _write_off(self, spent: dict[str, float], reason: str) -> None:
        for model, tflops in spent.items():
            self._apply(Amount(metric=metrics.WASTED.name, labels=(model, reason), value=tflops))

    def _apply(self, amount: Amount) -> None:
        series = self._series[amount.metric]
        child = series.labels(*amount.labels) if amount.labels else series
        if isinstance(child, Counter):
            child.inc(amount.value)
        elif isinstance(child, Gauge):
            child.set(amount.value)
        else:
            child.observe(amount.value)


def listen(
    inlet: socket.socket, worker_metrics: WorkerMetrics, hear: Callable[[Sequence[Told]], None] | None = None
) -> Callable[[], None]:
    """Feed datagrams from `inlet` to the metrics on the running loop.

    Args:
        hear: takes what is told of jobs for their traces.

    Returns:
        A call that takes in at once what has arrived.
    """
    inlet.setblocking(False)

    def drain() -> None:
        while True:
            try:
                raw = inlet.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            try:
                dispatch = Dispatch.model_validate_json(raw)
                worker_metrics.receive(dispatch)
                if hear is not None:
                    hear(dispatch.told)
            except (ValidationError, KeyError):
                _LOG.exception("an unreadable datagram of the engine was dropped")

    asyncio.get_running_loop().add_reader(inlet.fileno(), drain)
    return drain
