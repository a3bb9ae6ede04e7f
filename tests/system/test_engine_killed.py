"""The engine process dies at random steps: the job starts over, ends once, with the same bytes."""

from __future__ import annotations

import random
import time

import pytest

from protocol.events import Requeued, Started
from tests.system.harness import LONG, Desk, WorkerProgram

KILLS = 10
"""`benchmarks/recovery.py` does twenty."""
RESTART_S = 3.0


async def kill_engine(worker: WorkerProgram) -> None:
    engine = worker.engine
    assert engine is not None
    engine.kill()


@pytest.mark.timeout(150)
async def test_a_killed_engine_costs_an_attempt_and_nothing_else(
    standing_worker: WorkerProgram, standing_desk: Desk
) -> None:
    await standing_worker.ready(standing_desk.catalog)
    calm = await standing_desk.assert_ended_once(await standing_desk.submit("calm", seed=7))
    assert calm.totals is not None
    calm_totals = calm.totals.model_copy(update={"wall_s": 0})
    dice = random.Random(20_261_123)
    for turn in range(KILLS):
        key = await standing_desk.submit(f"hurt-{turn}", seed=7)
        await standing_desk.running(key, step=dice.randrange(1, LONG - 40))
        killed = time.monotonic()
        await kill_engine(standing_worker)
        await standing_desk.running(key, attempt=2)
        assert time.monotonic() - killed < RESTART_S
        record = await standing_desk.assert_ended_once(key)
        assert record.attempts == 2
        assert record.totals is not None
        assert record.totals.lost_tflops > 0
        assert record.totals.model_copy(update={"lost_tflops": 0, "wall_s": 0}) == calm_totals
        assert [one.sha256 for one in record.artifacts] == [one.sha256 for one in calm.artifacts]
        events = await standing_desk.events(key)
        assert [event.reason for event in events if isinstance(event, Requeued)] == ["crash"]
        assert [event.attempt for event in events if isinstance(event, Started)] == [1, 2]
    await standing_desk.assert_nothing_left()
