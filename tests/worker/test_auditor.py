"""The audit: what it runs again, what it finds, and that nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from protocol import metrics
from protocol.jobqueue import JobKey
from protocol.jobs import GenerationRequest
from protocol.metrics import Metric
from protocol.resolve import resolve
from tests.system.harness import MODEL, QUEUE, new_job, until
from tests.worker.conftest import Bench
from workers.auditor import chosen
from workers.comparing import Outcome, distances
from workers.engine import Engine, SampleResult
from workers.settings import AuditSettings, WorkerSettings

STEPS = 8


@pytest.fixture
def settings() -> WorkerSettings:
    return WorkerSettings.load(queue=QUEUE, audit=AuditSettings(share=1.0, after_idle_s=0.0))


def asked(budget: float, *, steps: int = STEPS, n: int = 1) -> dict[str, Any]:
    given = {"prompt": "a red apple", "seed": 3, "num_inference_steps": steps, "n": n}
    return {"model": MODEL, "input": given, "compute_budget": budget}


async def submit(bench: Bench, name: str, budget: float, *, audit: bool = True, **given: Any) -> JobKey:
    entry = await bench.desk.entry()
    request = resolve(GenerationRequest.model_validate(asked(budget, **given)), entry)
    job = replace(new_job(JobKey("tester", name), request, entry), audit=audit)
    await bench.desk.queue.submit(job)
    return job.key


def observed(bench: Bench, metric: Metric, budget: str) -> tuple[float, float]:
    """How often, and the sum."""
    named = {"model": MODEL, "budget": budget}
    look = bench.metrics.registry.get_sample_value
    return tuple(look(f"{metric.name}_{part}", named) or 0.0 for part in ("count", "sum"))  # type: ignore[return-value]


async def audited(bench: Bench, count: int, budget: str = "0.5") -> None:
    async def look() -> bool:
        return observed(bench, metrics.AUDIT_DISTANCE, budget)[0] >= count

    await until(look, f"{count} audits")


def test_a_share_is_chosen_by_name() -> None:
    keys = [JobKey("anna", f"job-{index}") for index in range(4000)]
    some = {key for key in keys if chosen(key, 0.1)}
    assert 300 < len(some) < 500  # 400 expected, 19 the standard deviation
    assert some < {key for key in keys if chosen(key, 0.2)}
    assert not any(chosen(key, 0.0) for key in keys)
    assert all(chosen(key, 1.0) for key in keys)


def test_distances_by_hand() -> None:
    """Latents (3, 4) against (0, 4): 3 over 4. One pixel of four is 255 off: the root of a quarter."""
    black, one_white = np.zeros((1, 4, 1), np.uint8), np.zeros((1, 4, 1), np.uint8)
    one_white[0, 0] = 255
    ours = Outcome(torch.tensor([3.0, 4.0]), black)
    full = SampleResult(0, torch.tensor([0.0, 4.0]), one_white, None)  # type: ignore[arg-type]
    assert distances(ours, full) == (0.75, 0.5)
    assert distances(Outcome(full.latents, None), full) == (0.0, None)


async def test_a_job_of_half_the_budget_is_run_again(bench: Bench, served: list[Any]) -> None:
    """The distance is that of two engine runs; its compute is waste, and every step is accounted for."""
    key = await submit(bench, "half", 0.5)
    record = await bench.desk.assert_ended_once(key)
    await audited(bench, 1)
    results = [Engine(served).run([asked(budget)])[0].samples[0].latents for budget in (0.5, 1.0)]
    apart = float((results[0] - results[1]).double().norm() / results[1].double().norm())
    assert apart > 0
    assert observed(bench, metrics.AUDIT_DISTANCE, "0.5") == (1.0, pytest.approx(apart, rel=1e-6))
    count, pixels = observed(bench, metrics.AUDIT_PIXEL_DISTANCE, "0.5")
    assert (count, 0 < pixels < 1) == (1.0, True)
    assert record.totals is not None
    wasted = bench.value(metrics.WASTED, MODEL, "audit")
    assert wasted == pytest.approx(record.totals.full_tflops, rel=1e-9)
    assert bench.value(metrics.STEP_TFLOPS, MODEL, "full") == pytest.approx(record.totals.tflops + wasted)
    assert bench.value(metrics.JOBS, MODEL, "completed") == 1
    assert bench.value(metrics.COMPUTE, MODEL, "spent") == pytest.approx(record.totals.tflops)
    assert await bench.desk.record(key) == record


async def test_full_budgets_and_owners_who_said_no_are_left_alone(bench: Bench) -> None:
    """The job that may be audited comes last, so when it was, the others would have been."""
    for key in (
        await submit(bench, "full", 1.0),
        await submit(bench, "private", 0.5, audit=False),
        await submit(bench, "four", 0.25, n=4),
    ):
        await bench.desk.assert_ended_once(key)
    await audited(bench, 1, "0.25")
    assert observed(bench, metrics.AUDIT_DISTANCE, "0.5")[0] == 0
    assert observed(bench, metrics.AUDIT_DISTANCE, "1")[0] == 0
    one_sample = bench.value(metrics.WASTED, MODEL, "audit")
    totals = (await bench.desk.record(JobKey("tester", "four"))).totals
    assert totals is not None
    assert one_sample == pytest.approx(totals.full_tflops / 4)


async def test_a_job_that_comes_does_not_wait_for_an_audit(bench: Bench) -> None:
    """An audit of 160 steps has begun; a job of 4 steps ends while it waits, then it goes on to its end."""
    await bench.desk.assert_ended_once(await submit(bench, "long", 0.5, steps=160))
    before = bench.value(metrics.STEPS, MODEL, "full")

    async def begun() -> bool:
        return bench.value(metrics.STEPS, MODEL, "full") > before

    await until(begun, "the audit's first step")
    await bench.desk.assert_ended_once(await submit(bench, "short", 1.0, steps=4))
    assert bench.value(metrics.STEPS, MODEL, "full") < before + 140
    assert observed(bench, metrics.AUDIT_DISTANCE, "0.5")[0] == 0
    await audited(bench, 1)
    assert bench.value(metrics.STEPS, MODEL, "full") == before + 164


async def test_what_a_drain_stops_is_still_accounted_for(bench: Bench) -> None:
    record = await bench.desk.assert_ended_once(await submit(bench, "long", 0.5, steps=160))

    async def begun() -> bool:
        totals = record.totals
        return totals is not None and bench.value(metrics.STEP_TFLOPS, MODEL, "full") > totals.tflops

    await until(begun, "the audit's first step")
    await bench.drain(0.0)
    await asyncio.sleep(0)
    assert record.totals is not None
    spent = bench.value(metrics.STEP_TFLOPS, MODEL, "full")
    assert spent == pytest.approx(record.totals.tflops + bench.value(metrics.WASTED, MODEL, "audit"))
    assert bench.value(metrics.WASTED, MODEL, "audit") > 0


class TestWithoutTheSetting:
    @pytest.fixture
    def settings(self) -> WorkerSettings:
        return WorkerSettings.load(queue=QUEUE)

    async def test_nothing_is_run_again(self, bench: Bench) -> None:
        await bench.desk.assert_ended_once(await submit(bench, "half", 0.5))
        await asyncio.sleep(0.3)
        await bench.drain(0.0)
        assert bench.value(metrics.WASTED, MODEL, "audit") == 0


Load = Callable[..., Any]


def test_budgets_are_named_by_the_nearest_calibrated_one(load_flux: Load) -> None:
    entry = load_flux("plain", "float32").catalog
    assert entry.calibrated_budgets == ()
    assert [entry.nearest_budget(share) for share in (0.05, 0.3, 0.31, 0.9)] == [0.25, 0.25, 0.35, 1.0]
