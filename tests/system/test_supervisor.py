"""The supervisor against engines that stand still, never get fit, or lose their zygote."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from protocol.states import WorkerState
from server.valkey import EmbeddedValkey
from tests.system.conftest import MakeWorker
from tests.system.harness import LEASE_TTL_S, LONG, Desk, WorkerProgram, free_port, until

SMALL_BYTES = 120 << 20


def test_importing_the_supervisor_imports_no_torch() -> None:
    code = "import sys, workers.supervisor; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_it_is_a_small_process_without_torch(
    standing_worker: WorkerProgram, standing_desk: Desk
) -> None:
    await standing_worker.ready(standing_desk.catalog)
    supervisor, zygote, engine = standing_worker.family()
    assert supervisor.memory_info().rss < SMALL_BYTES
    assert "libtorch" not in Path(f"/proc/{supervisor.pid}/maps").read_text()
    assert "libtorch" in Path(f"/proc/{zygote.pid}/maps").read_text()
    assert engine.ppid() == zygote.pid
    assert zygote.num_threads() == 1


@pytest.mark.timeout(90)
async def test_an_engine_that_stands_still_is_replaced(
    make_worker: MakeWorker,
    standing_valkey: EmbeddedValkey,
    standing_desk: Desk,
    standing_worker: WorkerProgram,
) -> None:
    port = free_port()
    worker = make_worker(
        standing_valkey.url,
        artifacts=standing_worker.artifacts,
        threads="2",
        step_timeout_s="1.5",
        metrics_port=str(port),
    )
    await worker.ready(standing_desk.catalog)
    await standing_worker.ready(standing_desk.catalog)
    with standing_worker.paused():
        key = await standing_desk.submit("stuck")
        await standing_desk.running(key)
        engine = worker.engine
        assert engine is not None
        engine.suspend()
        record = await standing_desk.assert_ended_once(key)
    assert record.attempts == 2
    assert "stood still" in worker.log.read_text()
    assert worker.engine is not None
    assert worker.engine.pid != engine.pid
    scraped = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    assert f'rheostat_worker_state{{state="{WorkerState.READY}"}} 1.0' in scraped
    assert 'rheostat_wasted_tflops_total{model="plain",reason="crash"}' in scraped
    assert 'rheostat_attempts_total{model="plain",reason="crash"} 1.0' in scraped
    worker.close()


@pytest.mark.timeout(90)
async def test_a_killed_zygote_is_replaced(standing_worker: WorkerProgram, standing_desk: Desk) -> None:
    await standing_worker.ready(standing_desk.catalog)
    key = await standing_desk.submit("orphaned", steps=2 * LONG)
    await standing_desk.running(key)
    standing_worker.family()[1].kill()
    record = await standing_desk.assert_ended_once(key)
    assert record.attempts == 2


@pytest.mark.timeout(90)
async def test_a_killed_supervisor_costs_no_more_than_its_lease(
    make_worker: MakeWorker,
    standing_valkey: EmbeddedValkey,
    standing_desk: Desk,
    standing_worker: WorkerProgram,
) -> None:
    doomed = make_worker(standing_valkey.url, artifacts=standing_worker.artifacts)
    await doomed.ready(standing_desk.catalog)
    await standing_worker.ready(standing_desk.catalog)
    with standing_worker.paused():
        key = await standing_desk.submit("left-alone")
        await standing_desk.running(key)
    _, *descendants = doomed.family()
    killed = time.monotonic()
    doomed.kill()
    await standing_desk.running(key, attempt=2)
    assert time.monotonic() - killed < LEASE_TTL_S + 2
    assert not any(process.is_running() for process in descendants)
    record = await standing_desk.assert_ended_once(key)
    assert record.attempts == 2


@pytest.mark.timeout(90)
async def test_a_worker_that_never_gets_fit_says_so_and_gives_up(
    make_worker: MakeWorker, standing_valkey: EmbeddedValkey, standing_desk: Desk
) -> None:
    worker = make_worker(standing_valkey.url, models="no-such-model", restart_backoff_s="0.05")
    seen: set[WorkerState] = set()

    async def look() -> bool:
        seen.update(one.state for one in await standing_desk.catalog.workers() if one.worker == worker.name)
        return worker.exit_code is not None

    await until(look, "end of the unfit worker")
    assert worker.exit_code == 1
    assert WorkerState.READY not in seen
    assert worker.log.read_text().count("no model 'no-such-model'") >= 3


@pytest.mark.timeout(60)
async def test_sigterm_while_starting_ends_it_at_once(
    make_worker: MakeWorker, standing_valkey: EmbeddedValkey
) -> None:
    worker = make_worker(standing_valkey.url)

    async def look() -> bool:
        return len(worker.family()) > 1

    await until(look, "zygote")
    worker.ask(signal.SIGTERM)
    assert await worker.ended(5) == 0
