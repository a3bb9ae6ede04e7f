"""The worker's metrics: one registry, in the supervisor, fed by the engine's datagrams.

Every evaluation counted in `rheostat_steps_total` stands in a receipt or in `rheostat_wasted_tflops_total`:
work that was told of and never settled is written off as `crash` when the engine process dies.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Literal

from prometheus_client import ProcessCollector, start_http_server

from protocol import metrics
from protocol.series import Series
from protocol.states import WorkerState
from workers.meter import Dispatch, Work
from workers.told import Told

_MAX_DATAGRAM = 1 << 20
_LOG = logging.getLogger("rheostat.worker.metrics")


class PortTaken(RuntimeError):
    """The metrics port is somebody else's, or its address not ours."""


class WorkerMetrics:
    """The series a worker owns, and the work not yet settled."""

    def __init__(self, engine_pid: Callable[[], int | None] = lambda: None) -> None:
        """Args:
        engine_pid: of the engine process that runs now, whose memory and time are shown beside our own.
        """
        self._series = Series(metrics.owned_by("worker"))
        self.registry = self._series.registry
        ProcessCollector("rheostat_engine", lambda: engine_pid() or "none", registry=self.registry)
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
            self._series.add(metrics.WORKER_STATE, float(one is state), one)

    def receive(self, dispatch: Dispatch) -> None:
        """Take in one datagram of the engine."""
        for one in dispatch.expected:
            self._series.expect(one.model, one.budgets)
        for amount in dispatch.amounts:
            self._series.record(amount.metric, amount.value, amount.labels, amount.trace_id)
        for work in dispatch.work:
            self._count(work)
        for settled in dispatch.settled:
            spent = self._unsettled.pop(settled.job, {})
            if settled.waste is not None:
                self._write_off(spent, settled.waste)

    def _count(self, work: Work) -> None:
        add, model, action = self._series.add, work.model, work.action
        add(metrics.STEPS, 1, model, action)
        add(metrics.STEP_TFLOPS, work.tflops, model, action)
        add(metrics.STEP_SECONDS, work.seconds, model, action, trace_id=work.trace_id)
        add(metrics.BLOCKS, work.blocks_run, model, "run")
        add(metrics.BLOCKS, work.blocks_total - work.blocks_run, model, "skipped")
        by_model = self._unsettled.setdefault(work.job, {})
        by_model[work.model] = by_model.get(work.model, 0.0) + work.tflops

    def engine_died(self, reason: Literal["crash", "unfit"] | None = None) -> None:
        """Write off what the dead engine process had not settled.

        Args:
            reason: why it has to be replaced; None: its end was asked for.
        """
        if reason is not None:
            self._series.add(metrics.RESTARTS, 1, reason)
        for spent in self._unsettled.values():
            self._write_off(spent, "crash")
        self._unsettled.clear()
        self._series.clear(metrics.RUNNING_SAMPLES)

    def _write_off(self, spent: dict[str, float], reason: str) -> None:
        for model, tflops in spent.items():
            self._series.add(metrics.WASTED, tflops, model, reason)


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
            except (KeyError, ValueError):
                _LOG.exception("an unreadable datagram of the engine was dropped")

    asyncio.get_running_loop().add_reader(inlet.fileno(), drain)
    return drain
