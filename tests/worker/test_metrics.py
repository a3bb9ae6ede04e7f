"""From the engine's datagrams to Prometheus: every step stands in a receipt or is written off."""

from __future__ import annotations

import asyncio
import os
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from protocol import metrics
from protocol.receipts import Action, StepLine
from protocol.states import WorkerState
from workers.meter import Dispatch, Meter
from workers.metrics import WorkerMetrics, listen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scrape(port: int, accept: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


LINE = StepLine(index=0, action=Action.ROUTED, blocks_run=3, blocks_total=8, tflops=0.25, seconds=0.5)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    inlet, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    yield inlet, outlet
    inlet.close()
    outlet.close()


def value(worker: WorkerMetrics, metric: metrics.Metric, *labels: str, suffix: str = "") -> float:
    named = dict(zip(metric.labels, labels, strict=True))
    return worker.registry.get_sample_value(metric.name + suffix, named) or 0.0


async def test_steps_are_receipts_plus_waste(pair: tuple[socket.socket, socket.socket]) -> None:
    """Steps of .25 TFLOPs: 2 in a receipt, 1 discarded, 3 lost to a crash, 1 of the warm-up."""
    inlet, outlet = pair
    meter, worker = Meter(outlet), WorkerMetrics()
    read = listen(inlet, worker)
    for job, steps in (("good", 2), ("given-up", 1), ("crashed", 3), ("warm-up", 1)):
        for _ in range(steps):
            meter.step(job, "m", LINE)
    meter.settle("good")
    meter.settle("given-up", "discarded")
    meter.settle("warm-up", "warmup")
    meter.flush()
    read()
    worker.engine_died()
    asyncio.get_running_loop().remove_reader(inlet.fileno())
    assert value(worker, metrics.STEPS, "m", "routed") == 7
    assert value(worker, metrics.STEP_TFLOPS, "m", "routed") == 1.75
    assert value(worker, metrics.BLOCKS, "m", "run") == 21
    assert value(worker, metrics.BLOCKS, "m", "skipped") == 35
    assert value(worker, metrics.STEP_SECONDS, "m", "routed", suffix="_sum") == 3.5
    wasted = {
        reason: value(worker, metrics.WASTED, "m", reason) for reason in ("discarded", "crash", "warmup")
    }
    assert wasted == {"discarded": 0.25, "crash": 0.75, "warmup": 0.25}
    receipts = 0.5
    assert receipts + sum(wasted.values()) == value(worker, metrics.STEP_TFLOPS, "m", "routed")


async def test_risks_are_a_histogram_and_the_threshold_the_last_one(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Risks .1 and .3; an evaluation nothing was decided at counts for neither."""
    inlet, outlet = pair
    meter, worker = Meter(outlet), WorkerMetrics()
    read = listen(inlet, worker)
    for risk, threshold in ((0.1, 0.25), (None, None), (0.3, 0.2)):
        meter.step("job", "m", LINE.model_copy(update={"risk": risk, "threshold": threshold}))
    meter.flush()
    read()
    asyncio.get_running_loop().remove_reader(inlet.fileno())
    assert value(worker, metrics.CACHE_RISK, "m", suffix="_count") == 2
    assert value(worker, metrics.CACHE_RISK, "m", suffix="_sum") == pytest.approx(0.4)
    assert value(worker, metrics.CONTROLLER_THRESHOLD, "m") == 0.2


async def test_a_deaf_supervisor_stops_nobody_and_misses_nothing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """The socket's buffer fills; what it does not take is sent later."""
    inlet, outlet = pair
    meter, worker = Meter(outlet), WorkerMetrics()
    for turn in range(2_000):
        meter.add(metrics.JOBS, 1, "m", "completed")
        meter.step(f"job-{turn}", "m", LINE)
        meter.settle(f"job-{turn}")
        meter.flush()
    read = listen(inlet, worker)
    while value(worker, metrics.JOBS, "m", "completed") < 2_000:
        read()
        meter.flush()
    read()
    asyncio.get_running_loop().remove_reader(inlet.fileno())
    worker.engine_died()
    assert value(worker, metrics.STEPS, "m", "routed") == 2_000
    assert value(worker, metrics.WASTED, "m", "crash") == 0


async def test_an_unreadable_datagram_is_dropped(pair: tuple[socket.socket, socket.socket]) -> None:
    inlet, outlet = pair
    worker = WorkerMetrics()
    read = listen(inlet, worker)
    outlet.send(b"\xff")
    outlet.send(Dispatch().model_copy().model_dump_json().encode().replace(b'"amounts":[]', b'"amounts":[1]'))
    read()
    asyncio.get_running_loop().remove_reader(inlet.fileno())


def test_one_state_at_a_time() -> None:
    worker = WorkerMetrics()
    worker.show_state(WorkerState.WARMING)
    worker.show_state(WorkerState.READY)
    assert {state: value(worker, metrics.WORKER_STATE, state) for state in WorkerState} == {
        WorkerState.STARTING: 0,
        WorkerState.WARMING: 0,
        WorkerState.READY: 1,
        WorkerState.DRAINING: 0,
    }


def test_served_over_http_under_the_contracts_names() -> None:
    worker = WorkerMetrics()
    worker.show_state(WorkerState.READY)
    port = free_port()
    stop = worker.serve("127.0.0.1", port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            families = {family.name for family in text_string_to_metric_families(answer.read().decode())}
    finally:
        stop()
    owned = {metric.name.removesuffix("_total") for metric in metrics.owned_by("worker")}
    assert {name for name in families if not name.startswith(("process_", "rheostat_engine_"))} == owned


async def test_a_served_model_stands_at_zero_and_keeps_what_it_counted(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    inlet, outlet = pair
    meter, worker = Meter(outlet), WorkerMetrics()
    read = listen(inlet, worker)
    meter.add(metrics.JOBS, 2, "m", "failed")
    meter.expect("m", ["0.35", "0.5"])
    meter.flush()
    read()
    meter.expect("m", ["0.35", "0.5"])
    meter.flush()
    read()
    asyncio.get_running_loop().remove_reader(inlet.fileno())
    sample = worker.registry.get_sample_value
    assert sample("rheostat_jobs_total", {"model": "m", "status": "failed"}) == 2
    assert sample("rheostat_jobs_total", {"model": "m", "status": "completed"}) == 0
    assert sample("rheostat_wasted_tflops_total", {"model": "m", "reason": "audit"}) == 0
    assert sample("rheostat_audit_distance_count", {"model": "m", "budget": "0.35"}) == 0
    assert sample("rheostat_running_samples", {"model": "m"}) is None, "a gauge is told, not assumed"


async def test_trace_ids_become_exemplars_for_who_reads_openmetrics(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    inlet, outlet = pair
    meter, worker = Meter(outlet), WorkerMetrics()
    read = listen(inlet, worker)
    meter.add(metrics.REQUEST_SECONDS, 2.5, "m", "completed", trace_id="0123456789abcdef" * 2)
    meter.step("job", "m", LINE, trace_id="fedcba9876543210" * 2)
    meter.flush()
    read()
    asyncio.get_running_loop().remove_reader(inlet.fileno())
    port = free_port()
    stop = worker.serve("127.0.0.1", port)
    try:
        told = {
            accept: scrape(port, accept) for accept in ("application/openmetrics-text; version=1.0.0", "")
        }
    finally:
        stop()
    openmetrics, text = told.values()
    seen = {
        (sample.name, sample.labels["le"]): sample.exemplar
        for family in parse_openmetrics(openmetrics)
        for sample in family.samples
        if sample.exemplar is not None
    }
    by_bucket = {key: (exemplar.labels["trace_id"][:4], exemplar.value) for key, exemplar in seen.items()}
    assert by_bucket == {
        ("rheostat_request_seconds_bucket", "3.0"): ("0123", 2.5),
        ("rheostat_step_seconds_bucket", "0.5"): ("fedc", 0.5),
    }
    assert "trace_id" not in text


def test_engines_that_ended_unasked_are_counted_by_why() -> None:
    worker = WorkerMetrics()
    for reason in ("crash", "crash", "unfit", None):
        worker.engine_died(reason)
    assert value(worker, metrics.RESTARTS, "crash") == 2
    assert value(worker, metrics.RESTARTS, "unfit") == 1


def test_memory_and_start_of_the_engine_process_are_shown_while_there_is_one() -> None:
    pids: list[int | None] = [os.getpid()]
    worker = WorkerMetrics(lambda: pids[-1])
    memory = "rheostat_engine_process_resident_memory_bytes"
    assert (worker.registry.get_sample_value(memory) or 0) > 1 << 20
    pids.append(None)
    assert worker.registry.get_sample_value(memory) is None
