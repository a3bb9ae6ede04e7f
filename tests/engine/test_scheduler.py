"""Who moves: sizes that pay, groups that share time, nobody left waiting."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.engine.toys import make_sample
from workers.core import Grid
from workers.engine.job import Flight
from workers.engine.scheduler import Scheduler
from workers.engine.settings import EngineSettings
from workers.engine.sizing import BatchSizes


def make_sizes(max_rows: int = 32, min_gain: float = 0.05, explore_turns: int = 1000) -> BatchSizes:
    return BatchSizes(max_rows=max_rows, min_gain=min_gain, explore_turns=explore_turns)


def measure(sizes: BatchSizes, rows: int, seconds: float, times: int = 4) -> None:
    for _ in range(times):
        sizes.record(rows, seconds)


def make_flight(arrival: int, *, side: int = 1, lanes: int = 1) -> Flight:
    sample = make_sample(str(arrival), 0, lanes=lanes)
    sample.grid = Grid(side, side)
    job = SimpleNamespace(model=SimpleNamespace(name="m"))
    return Flight(cast(Any, job), 0, 0, 1, arrival=arrival, sample=sample)


def test_all_ready_rows_are_taken_until_something_is_known() -> None:
    sizes = make_sizes()
    assert [sizes.pick(ready) for ready in (1, 3, 8)] == [1, 3, 8]
    assert make_sizes(max_rows=4).pick(8) == 4


def test_a_smaller_batch_is_taken_when_it_is_faster_a_row() -> None:
    """One row .1 s, eight rows 1 s: .1 against .125 a row. At .84 s, .105 a row, the gain is under 5 %."""
    sizes = make_sizes()
    measure(sizes, 1, 0.1)
    measure(sizes, 8, 1.0)
    assert sizes.pick(8) == 1
    measure(sizes, 8, 0.84, times=9)
    assert sizes.pick(8) == 8


def test_batching_that_pays_is_kept() -> None:
    sizes = make_sizes()
    measure(sizes, 1, 0.1)
    measure(sizes, 8, 0.4)
    assert sizes.pick(8) == 8


def test_a_first_timing_and_a_spike_decide_nothing() -> None:
    """The first forward of a size pays for set-up, one of nine was disturbed."""
    sizes = make_sizes()
    measure(sizes, 1, 0.1)
    sizes.record(8, 30.0)
    assert sizes.pick(8) == 8
    measure(sizes, 8, 0.4)
    sizes.record(8, 30.0)
    assert sizes.pick(8) == 8


def test_now_and_then_the_size_not_seen_for_longest_is_measured() -> None:
    sizes = make_sizes(explore_turns=4)
    picked = []
    for _ in range(16):
        picked.append(sizes.pick(8))
        sizes.record(picked[-1], 0.1 * picked[-1])
    assert picked[3::4] == [1, 2, 4, 1]
    assert set(picked[:3]) == {8}


def test_a_size_that_did_not_fit_is_never_taken_again() -> None:
    sizes = make_sizes()
    sizes.shrink(8)
    assert sizes.pick(8) == 4
    sizes.shrink(1)
    assert sizes.pick(8) == 1


def test_nobody_ready_is_no_turn() -> None:
    assert Scheduler(EngineSettings()).plan([]) is None


def test_the_oldest_go_first_and_lanes_are_not_parted() -> None:
    scheduler = Scheduler(EngineSettings(max_rows=3))
    flights = [make_flight(3), make_flight(1, lanes=2), make_flight(2, lanes=2)]
    plan = scheduler.plan(flights)
    assert plan is not None
    assert [flight.arrival for flight in plan.flights] == [1]
    assert plan.rows == 2


def test_a_guided_sample_moves_even_where_one_row_is_the_limit() -> None:
    plan = Scheduler(EngineSettings(max_rows=1)).plan([make_flight(1, lanes=2)])
    assert plan is not None
    assert plan.rows == 2


def test_nobody_is_passed_over_for_ever() -> None:
    """One row a turn, older ones that never end: the youngest of four moves at every third turn or so."""
    scheduler = Scheduler(EngineSettings(max_rows=1, max_wait_turns=3))
    flights = [make_flight(arrival) for arrival in range(4)]
    moved: Counter[int] = Counter()
    for _ in range(40):
        plan = scheduler.plan(flights)
        assert plan is not None
        scheduler.record(plan, 0.1, whole=True)
        moved.update(flight.arrival for flight in plan.flights)
    assert min(moved.values()) >= 8


def test_groups_share_seconds_not_turns() -> None:
    """A slow grid at .4 s a turn and a fast one at .1 s: in 50 turns the fast one has four times as many."""
    scheduler = Scheduler(EngineSettings())
    flights = [make_flight(1, side=4), make_flight(2, side=1)]
    turns: Counter[int] = Counter()
    for _ in range(50):
        plan = scheduler.plan(flights)
        assert plan is not None
        scheduler.record(plan, 0.4 if plan.group.grid.height == 4 else 0.1, whole=True)
        turns[plan.group.grid.height] += 1
    assert turns[1] == pytest.approx(40, abs=2)


def test_a_group_that_comes_back_starts_level() -> None:
    """After 20 turns alone, the first group shares with the second at once: it is not starved to make up."""
    scheduler = Scheduler(EngineSettings())
    old, new = make_flight(1, side=4), make_flight(2, side=1)
    for _ in range(20):
        plan = scheduler.plan([old])
        assert plan is not None
        scheduler.record(plan, 1.0, whole=True)
    turns: Counter[int] = Counter()
    for _ in range(10):
        plan = scheduler.plan([old, new])
        assert plan is not None
        scheduler.record(plan, 1.0, whole=True)
        turns[plan.group.grid.height] += 1
    assert turns == {4: 5, 1: 5}
