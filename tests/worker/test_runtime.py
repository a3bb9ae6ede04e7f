"""What the engine process's loop does with jobs, one bad one among them, and with orders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol import metrics
from protocol.errors import InvalidRequest
from protocol.events import Requeued, Started, Step
from protocol.jobqueue import JobKey
from protocol.jobs import GenerationRequest
from protocol.resolve import resolve
from protocol.states import JobStatus, WorkerState
from tests.system.harness import LONG, MODEL, new_job, until
from tests.worker.conftest import Bench
from workers.board import Orders, Verdict


async def test_a_job_becomes_a_picture_and_a_receipt(bench: Bench) -> None:
    key = await bench.desk.submit("job", steps=5, n=2)
    record = await bench.desk.assert_ended_once(key)
    assert [artifact.seed for artifact in record.artifacts] == [0, 1]
    for artifact in record.artifacts:
        assert (await bench.store.get(artifact.path)).startswith(b"\x89PNG")
    receipt = await bench.receipt(key)
    assert receipt.totals == record.totals
    assert [[line.index for line in sample.steps] for sample in receipt.samples] == [[0, 1, 2, 3, 4]] * 2
    events = await bench.desk.events(key)
    assert isinstance(events[0], Started)
    steps = [event for event in events if isinstance(event, Step)]
    assert sorted((step.sample, step.index) for step in steps) == [(n, i) for n in range(2) for i in range(5)]
    assert [step.tflops for step in steps if step.sample == 1] == [
        line.tflops for line in receipt.samples[1].steps
    ]
    assert (record.step, record.num_steps) == (10, 10)
    assert bench.board.report.leases == ()


async def test_a_cancelled_job_stops_at_the_next_step(bench: Bench) -> None:
    key = await bench.desk.submit("job", steps=1000)
    await bench.desk.running(key, step=5)
    assert await bench.desk.queue.cancel(key) == "cancelling"
    seen = (await bench.desk.record(key)).step
    record = await bench.desk.assert_ended_once(key, JobStatus.CANCELLED)
    assert record.totals is not None
    assert record.totals.nfe < seen + 50
    assert record.totals.spent == pytest.approx(record.totals.nfe / 1000)
    await bench.desk.assert_nothing_left()


async def test_bad_jobs_end_with_their_reason_and_hurt_nobody(bench: Bench) -> None:
    entry = await bench.desk.entry()
    body = {"model": MODEL, "input": {"prompt": "the sun", "seed": 1, "num_inference_steps": LONG}}
    request = resolve(GenerationRequest.model_validate(body), entry)
    wide = request.model_copy(update={"input": request.input.model_copy(update={"width": 64 * 1024})})
    good = new_job(JobKey("t", "good"), request, entry)
    bad = [
        replace(good, key=JobKey("t", "old-weights"), digest="0" * 64),
        replace(good, key=JobKey("t", "too-wide"), request=wide),
    ]
    for job in (good, *bad):
        await bench.desk.queue.submit(job)
    await bench.desk.assert_ended_once(good.key)
    errors = [(await bench.desk.assert_ended_once(job.key, JobStatus.FAILED)).error for job in bad]
    assert [error.code for error in errors if error] == ["model_changed", InvalidRequest.default_code]
    assert [error.param for error in errors if error] == ["model", "input.width"]
    await bench.desk.assert_nothing_left()


async def test_a_job_whose_result_cannot_be_stored_fails(bench: Bench) -> None:
    bench.artifacts.write_text("a file where the store's folder should be")
    key = await bench.desk.submit("job", steps=2)
    record = await bench.desk.assert_ended_once(key, JobStatus.FAILED)
    assert record.error is not None
    assert record.error.code == "store_failed"


async def test_verdicts_of_the_supervisor(bench: Bench) -> None:
    """One job is to be cancelled, one handed back, one is lost; the fourth goes on."""
    keys = [await bench.desk.submit(f"job-{index}", seed=index, steps=400) for index in range(4)]
    for key in keys:
        await bench.desk.running(key)
    cancel, preempt, lost, good = keys
    verdicts = zip(keys, (Verdict.CANCEL, Verdict.PREEMPT, Verdict.LOST), strict=False)
    bench.board.orders = Orders(verdicts=tuple((bench.lease(key), verdict) for key, verdict in verdicts))
    await bench.desk.assert_ended_once(cancel, JobStatus.CANCELLED)
    await bench.desk.assert_ended_once(good)
    record = await bench.desk.assert_ended_once(preempt)
    assert record.attempts == 1
    reasons = [event.reason for event in await bench.desk.events(preempt) if isinstance(event, Requeued)]
    assert reasons == ["preempt"]
    assert (await bench.desk.record(lost)).status is JobStatus.RUNNING
    assert bench.board.report.leases == ()


async def test_draining_hands_back_what_does_not_finish_in_time(bench: Bench) -> None:
    keys = [await bench.desk.submit(f"job-{steps}", steps=steps) for steps in (60, 1000)]
    for key in keys:
        await bench.desk.running(key)
    await bench.drain(drain_s=2.0)
    short, long = [await bench.desk.record(key) for key in keys]
    assert (short.status, short.attempts) == (JobStatus.COMPLETED, 1)
    assert (long.status, long.attempts) == (JobStatus.QUEUED, 0)
    assert bench.board.report.state is WorkerState.DRAINING


async def test_metrics_account_for_every_step(bench: Bench) -> None:
    done = await bench.desk.submit("done", steps=10)
    stopped = await bench.desk.submit("stopped", steps=1000)
    handed_back = await bench.desk.submit("handed-back", steps=1000)
    await bench.desk.running(stopped)
    await bench.desk.running(handed_back)
    await bench.desk.queue.cancel(stopped)
    for key in (done, stopped):
        await bench.desk.ended(key)
    await bench.drain(drain_s=0.0)
    totals = [(await bench.desk.record(key)).totals for key in (done, stopped)]
    receipts = sum(one.tflops for one in totals if one is not None)
    wasted = bench.value(metrics.WASTED, MODEL, "discarded")
    assert wasted > 0
    assert receipts + wasted == pytest.approx(bench.value(metrics.STEP_TFLOPS, MODEL, "full"))
    assert bench.value(metrics.COMPUTE, MODEL, "spent") == pytest.approx(receipts)
    assert bench.value(metrics.JOBS, MODEL, "completed") == bench.value(metrics.JOBS, MODEL, "cancelled") == 1
    assert bench.value(metrics.RUNNING_SAMPLES, MODEL) == 0


async def test_clips_leave_a_place_to_a_picture(served_with_clips: list[Any], bench: Bench) -> None:
    """20 long clips wait for 16 places. 12 run, and a picture that comes last ends first."""
    entry, clips = served_with_clips[1].catalog, []
    for index in range(20):
        given = {"prompt": "a red apple", "seed": index, "num_inference_steps": 400}
        asked = GenerationRequest.model_validate({"model": entry.name, "input": given})
        clips.append(new_job(JobKey("tester", f"clip-{index}"), resolve(asked, entry), entry))
        await bench.desk.queue.submit(clips[-1])

    async def all_run() -> bool:
        return (await bench.desk.queue.load(entry.name)).running_jobs == 12

    await until(all_run, "12 running clips")
    picture = await bench.desk.submit("picture", steps=5)
    await bench.desk.assert_ended_once(picture)
    load = await bench.desk.queue.load(entry.name)
    assert (load.running_jobs, load.queued_jobs) == (12, 8)
    await bench.drain(drain_s=0.0)


async def test_an_idle_engine_counts_as_alive(bench: Bench) -> None:
    async def look() -> bool:
        return bench.board.turns >= 5 and bench.board.report.state is WorkerState.READY

    await until(look, "five beats")
