"""SIGTERM and Ctrl-C: what runs is finished or handed back, and no attempt is counted."""

from __future__ import annotations

import signal
import time

import pytest

from protocol.events import Requeued, Started
from protocol.states import JobStatus
from server.valkey import EmbeddedValkey
from tests.system.conftest import MakeWorker
from tests.system.harness import LONG, Desk

JOBS = 8


@pytest.mark.timeout(150)
async def test_no_attempt_is_counted(
    make_worker: MakeWorker, own_valkey: EmbeddedValkey, own_desk: Desk
) -> None:
    hasty = make_worker(own_valkey.url, drain_s="0.1")
    await hasty.ready(own_desk.catalog)
    keys = [await own_desk.submit(f"job-{index}", seed=index) for index in range(JOBS)]
    for key in keys:
        await own_desk.running(key)
    hasty.ask(signal.SIGTERM)
    asked = time.monotonic()
    assert await hasty.ended() == 0
    assert time.monotonic() - asked < 5
    handed_back = [await own_desk.record(key) for key in keys]
    assert {record.status for record in handed_back} == {JobStatus.QUEUED}
    assert {record.attempts for record in handed_back} == {0}

    calm = make_worker(own_valkey.url)
    for key in keys:
        await own_desk.running(key)
    calm.ask(signal.SIGINT)
    assert await calm.ended() == 0
    for key in keys:
        record = await own_desk.assert_ended_once(key)
        assert record.attempts == 1
        events = await own_desk.events(key)
        assert [event.reason for event in events if isinstance(event, Requeued)] == ["drain"]
        assert [event.attempt for event in events if isinstance(event, Started)] == [1, 1]
    await own_desk.assert_nothing_left()
    assert await own_desk.catalog.workers() == []


@pytest.mark.timeout(90)
async def test_a_second_signal_hands_back_at_once(
    make_worker: MakeWorker, own_valkey: EmbeddedValkey, own_desk: Desk
) -> None:
    worker = make_worker(own_valkey.url, drain_s="60")
    await worker.ready(own_desk.catalog)
    key = await own_desk.submit("endless", steps=6 * LONG)
    await own_desk.running(key)
    worker.ask(signal.SIGTERM)
    await worker.says("is draining")
    worker.ask(signal.SIGTERM)
    assert await worker.ended(10) == 0
    record = await own_desk.record(key)
    assert (record.status, record.attempts) == (JobStatus.QUEUED, 0)
    assert await own_desk.queue.cancel(key) == "cancelled"
