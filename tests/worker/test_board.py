"""The shared board: the newest whole message, whatever happens to its writer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from protocol.states import WorkerState
from workers.board import Board, Lease, Orders, Report, Verdict

LEASE = Lease("tenant", "job", "token")


@pytest.fixture
def board_fd() -> Iterator[int]:
    fd = Board.create()
    yield fd
    os.close(fd)


def test_a_fresh_board_says_starting(board_fd: int) -> None:
    board = Board(board_fd)
    assert board.report == Report(state=WorkerState.STARTING)
    assert board.orders == Orders()
    assert (board.turns, board.orders_number) == (0, 0)


def test_both_sides_see_the_newest_word(board_fd: int) -> None:
    engine, supervisor = Board(board_fd), Board(board_fd)
    for turn in range(5):
        engine.report = Report(state=WorkerState.READY, leases=(LEASE,) * turn)
        engine.beat()
    supervisor.orders = Orders(draining=True, drain_s=2.5, verdicts=((LEASE, Verdict.LOST),))
    supervisor.allowed_s = 12.5
    assert supervisor.report.leases == (LEASE,) * 4
    assert supervisor.turns == 5
    assert engine.allowed_s == 12.5
    assert engine.orders.verdicts == ((LEASE, Verdict.LOST),)
    assert engine.orders_number == 1


def test_a_message_too_long_is_refused_and_the_last_one_stays(board_fd: int) -> None:
    board = Board(board_fd)
    board.report = Report(models=("small",))
    with pytest.raises(ValueError, match="does not fit"):
        board.report = Report(unfit="x" * 200_000)
    assert board.report.models == ("small",)


def test_a_killed_writer_leaves_a_whole_message(board_fd: int) -> None:
    """A child writes reports of changing length as fast as it can and is killed at some point, ten times."""
    board = Board(board_fd)
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            count = 0
            while True:
                count += 1
                board.report = Report(models=tuple(f"model-{count}" for _ in range(count % 50)))
                board.beat()
        before = board.turns
        for _ in range(200):
            names = board.report.models
            assert len(set(names)) <= 1, "a mixture of two messages"
        while board.turns == before:
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert len(set(board.report.models)) <= 1
