"""What Prometheus adds up is what receipts say: without kills exactly, with kills beside the waste."""

from __future__ import annotations

import secrets
import urllib.request
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from protocol.artifacts import ArtifactStore
from protocol.jobqueue import JobKey
from protocol.jobs import GenerationRequest
from protocol.resolve import resolve
from server.valkey import EmbeddedValkey
from tests.system.conftest import MakeWorker
from tests.system.harness import LONG, MODEL, TENANT, Desk, WorkerProgram, free_port, new_job, until

EXACT = 1e-9
DENOISE_SHARE = 0.03
BUDGETS: tuple[Any, ...] = (
    1.0,
    {"fraction": 0.5, "methods": ["fora"]},
    {"fraction": 0.5, "methods": ["speca"]},
    {"fraction": 0.4, "methods": ["steps"]},
)


class Counters:
    """One scrape of a worker, added up."""

    def __init__(self, port: int) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        self._samples = [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        return sum(
            one.value
            for one in self._samples
            if one.name == name and all(one.labels.get(label) == value for label, value in labels.items())
        )

    @property
    def steps(self) -> float:
        return self.total("rheostat_step_tflops_total")

    @property
    def wasted(self) -> float:
        return self.total("rheostat_wasted_tflops_total")


async def submit(desk: Desk, budget: Any, *, seed: int, steps: int) -> JobKey:
    """A job with a budget of its own."""
    entry = await desk.entry()
    body = {
        "model": MODEL,
        "input": {"prompt": "a red apple", "seed": seed, "num_inference_steps": steps, "n": 1 + seed % 2},
        "compute_budget": budget,
    }
    request = resolve(GenerationRequest.model_validate(body), entry)
    key = JobKey(TENANT, f"counted-{seed}-{secrets.token_hex(3)}")
    assert (await desk.queue.submit(new_job(key, request, entry))).outcome == "ok"
    return key


async def receipts(desk: Desk, worker: WorkerProgram, keys: Sequence[JobKey]) -> float:
    """TFLOPs that the stored receipts of all jobs come to."""
    store, total = ArtifactStore(str(worker.artifacts)), 0.0
    for key in keys:
        record = await desk.assert_ended_once(key)
        assert record.receipt_path is not None
        receipt = await store.get_receipt(record.receipt_path)
        lines = sum(line.tflops for sample in receipt.samples for line in sample.steps)
        assert lines == pytest.approx(receipt.tflops, rel=EXACT)
        total += lines
    return total


async def warmed_up(port: int) -> Counters:
    """The scrape that knows of the warm-up, of which nothing else can be told apart later."""

    async def look() -> Counters | None:
        counters = Counters(port)
        return counters if counters.wasted > 0 else None

    return await until(look, "counted warm-up")


async def settled(port: int, completed: int) -> Counters:
    """The scrape that knows of so many ends."""

    async def look() -> Counters | None:
        counters = Counters(port)
        return counters if counters.total("rheostat_jobs_total", status="completed") == completed else None

    return await until(look, f"{completed} counted ends")


@pytest.mark.timeout(300)
async def test_steps_are_receipts_and_receipts_plus_waste_when_engines_are_killed(
    make_worker: MakeWorker, own_valkey: EmbeddedValkey, own_desk: Desk
) -> None:
    port = free_port()
    worker = make_worker(own_valkey.url, metrics_port=str(port))
    await worker.ready(own_desk.catalog, timeout_s=120)
    before = await warmed_up(port)
    assert before.steps == pytest.approx(before.wasted, rel=EXACT), "only the warm-up has run"

    calm = [await submit(own_desk, budget, seed=seed, steps=28) for seed, budget in enumerate(BUDGETS)]
    in_receipts = await receipts(own_desk, worker, calm)
    after = await settled(port, len(calm))
    assert after.steps - before.steps == pytest.approx(in_receipts, rel=EXACT)
    assert after.wasted == before.wasted
    step_seconds = after.total("rheostat_step_seconds_sum") - before.total("rheostat_step_seconds_sum")
    denoise_seconds = after.total("rheostat_stage_seconds_sum", stage="denoise")
    assert step_seconds == pytest.approx(denoise_seconds, rel=DENOISE_SHARE)
    assert after.total("rheostat_compute_tflops_total", kind="spent") == pytest.approx(in_receipts, rel=EXACT)
    actions = {
        action
        for action in ("full", "partial", "forecast")
        if after.total("rheostat_steps_total", action=action)
    }
    assert actions == {"full", "partial", "forecast"}, "the sum is over different kinds of steps"

    hurt = [await own_desk.submit("hurt", seed=seed, steps=LONG) for seed in range(2)]
    await own_desk.running(hurt[0], step=20)
    assert worker.engine is not None
    worker.engine.kill()
    in_receipts += await receipts(own_desk, worker, hurt)
    killed = await settled(port, len(calm) + len(hurt))
    lost = killed.total("rheostat_wasted_tflops_total", reason="crash")
    assert lost > 0
    assert killed.steps == pytest.approx(in_receipts + killed.wasted, rel=EXACT)
    assert killed.total("rheostat_worker_restarts_total", reason="crash") == 1
    worker.close()
