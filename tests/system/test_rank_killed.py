"""A worker of two ranks: one of them dies or stands still, all end, and the job is claimed again."""

from __future__ import annotations

import time

import psutil
import pytest

from server.valkey import EmbeddedValkey
from tests.system.conftest import MakeWorker
from tests.system.harness import Desk, WorkerProgram

STEPS = 24
BOUND_S = 40.0
"""A restart takes a few seconds, on a busy machine more; a hang would take for ever."""


def ranks_of(worker: WorkerProgram) -> list[psutil.Process]:
    """The zygote's children, rank 0 first."""
    return sorted(worker.family()[2:], key=lambda process: process.pid)


@pytest.mark.timeout(240)
async def test_no_rank_goes_on_without_the_others(
    own_valkey: EmbeddedValkey, own_desk: Desk, make_worker: MakeWorker
) -> None:
    worker = make_worker(own_valkey.url, ranks="2", step_timeout_s="2")
    await worker.ready(own_desk.catalog, timeout_s=90)
    calm = await own_desk.assert_ended_once(await own_desk.submit("calm", seed=7, steps=STEPS))

    async def hurt(hurter: str) -> None:
        key = await own_desk.submit(hurter, seed=7, steps=STEPS)
        await own_desk.running(key, step=3)
        _, follower = ranks_of(worker)
        getattr(follower, hurter)()
        hurt_s = time.monotonic()
        await own_desk.running(key, attempt=2)
        assert time.monotonic() - hurt_s < BOUND_S
        assert not follower.is_running() or follower.status() == psutil.STATUS_ZOMBIE
        record = await own_desk.assert_ended_once(key)
        assert record.attempts == 2
        assert [one.sha256 for one in record.artifacts] == [one.sha256 for one in calm.artifacts]

    await hurt("kill")
    await hurt("suspend")
    await own_desk.assert_nothing_left()
