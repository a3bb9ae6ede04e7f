"""What a probe of a container is told, by the worker's own metrics port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from protocol.states import WorkerState
from tests.plugins.valkey import free_port
from workers import health
from workers.metrics import WorkerMetrics


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerMetrics]:
    """A worker's metrics, served where the probe looks."""
    port, metrics = free_port(), WorkerMetrics()
    monkeypatch.setenv("RHEOSTAT_WORKER_METRICS_PORT", str(port))
    stop = metrics.serve("127.0.0.1", port)
    yield metrics
    stop()


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (WorkerState.STARTING, 1),
        (WorkerState.WARMING, 1),
        (WorkerState.READY, 0),
        (WorkerState.DRAINING, 0),
    ],
)
def test_fit_is_who_works(worker: WorkerMetrics, state: WorkerState, code: int) -> None:
    worker.show_state(state)
    assert health.main() == code


def test_a_worker_that_says_nothing_yet_is_not_fit(worker: WorkerMetrics) -> None:
    assert health.main() == 1


def test_nobody_there_is_not_fit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RHEOSTAT_WORKER_METRICS_PORT", str(free_port()))
    assert health.main() == 1
    assert "no worker answers" in capsys.readouterr().err
