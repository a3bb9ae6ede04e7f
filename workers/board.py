"""The board: shared memory through which the engine process and its supervisor see each other.

The engine writes how far it is and what it holds; the supervisor writes what it wants. Both only ever need
the newest word, so nothing queues, nobody waits, and a process that is killed or stopped in the middle of a
write leaves the last whole message behind.

| bytes | writer | content |
|---|---|---|
| 0-7 | engine | turn counter |
| 8-15 | both | seconds the counter may stand still (float64); the supervisor's until the first turn |
| 64.. | engine | mailbox of `Report` |
| 64 + box.. | supervisor | mailbox of `Orders` |
"""

from __future__ import annotations

import mmap
import os
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from protocol.states import WorkerState

_SLOT_BYTES = 128 * 1024
_BOX_BYTES = 8 + 2 * (8 + _SLOT_BYTES)
_HEADER_BYTES = 64
BOARD_BYTES = _HEADER_BYTES + 2 * _BOX_BYTES


class Lease(NamedTuple):
    """One job the engine holds, and the token that proves it."""

    tenant: str
    id: str
    token: str


class Verdict(StrEnum):
    """What the queue said of a lease when it was renewed."""

    CANCEL = "cancel"
    """The caller wants it stopped: commit it as cancelled."""
    PREEMPT = "preempt"
    """Hand it back."""
    LOST = "lost"
    """Somebody else owns it: stop, and write nothing."""


class Report(BaseModel):
    """What the engine process tells: its state, the leases to keep alive, why it is unfit if it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: WorkerState = WorkerState.STARTING
    leases: tuple[Lease, ...] = ()
    models: tuple[str, ...] = ()
    unfit: str = ""


class Orders(BaseModel):
    """What the supervisor wants: drain within `drain_s`, and what became of leases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    draining: bool = False
    drain_s: float = 0.0
    verdicts: tuple[tuple[Lease, Verdict], ...] = ()


class Mailbox:
    """The newest message of one writer to one reader.

    Two slots: the writer fills the one nobody reads, then turns the number. A reader that was overtaken while
    it copied sees the number has moved and copies again.
    """

    def __init__(self, memory: memoryview) -> None:
        """Args:
        memory: `_BOX_BYTES` of shared memory, zero at first.
        """
        self._number = memory[:8].cast("Q")
        self._slots = (memory[8 : 16 + _SLOT_BYTES], memory[16 + _SLOT_BYTES : 24 + 2 * _SLOT_BYTES])

    @property
    def number(self) -> int:
        """How many messages were written so far."""
        return int(self._number[0])

    def write(self, message: bytes) -> None:
        """Replace the message.

        Raises:
            ValueError: longer than a slot holds.
        """
        if len(message) > _SLOT_BYTES:
            raise ValueError(f"a message of {len(message)} bytes does not fit into {_SLOT_BYTES}")
        number = self.number + 1
        slot = self._slots[number % 2]
        slot[8 : 8 + len(message)] = message
        slot[:8].cast("Q")[0] = len(message)
        self._number[0] = number

    def read(self) -> bytes:
        """The newest whole message; empty before the first."""
        while True:
            number = self.number
            slot = self._slots[number % 2]
            message = bytes(slot[8 : 8 + min(slot[:8].cast("Q")[0], _SLOT_BYTES)])
            if self.number == number:
                return message


class Board:
    """Both mailboxes, the turn counter and its limit, over one shared file."""

    def __init__(self, fd: int) -> None:
        """Args:
        fd: a shared file of `BOARD_BYTES`; the board maps it and leaves the descriptor to the caller.
        """
        memory = memoryview(mmap.mmap(fd, BOARD_BYTES))
        self._turns = memory[:8].cast("Q")
        self._allowed_s = memory[8:16].cast("d")
        self._report = Mailbox(memory[_HEADER_BYTES : _HEADER_BYTES + _BOX_BYTES])
        self._orders = Mailbox(memory[_HEADER_BYTES + _BOX_BYTES : BOARD_BYTES])

    @staticmethod
    def create() -> int:
        """A file descriptor of a fresh board: memory without a name, gone with its last user."""
        fd = os.memfd_create("rheostat-board", os.MFD_CLOEXEC)
        os.ftruncate(fd, BOARD_BYTES)
        return fd

    @property
    def turns(self) -> int:
        return int(self._turns[0])

    def beat(self) -> None:
        """The engine is alive: move the counter."""
        self._turns[0] += 1

    @property
    def allowed_s(self) -> float:
        """How long the counter may stand still."""
        return float(self._allowed_s[0])

    @allowed_s.setter
    def allowed_s(self, seconds: float) -> None:
        self._allowed_s[0] = seconds

    @property
    def report(self) -> Report:
        raw = self._report.read()
        return Report.model_validate_json(raw) if raw else Report()

    @report.setter
    def report(self, report: Report) -> None:
        self._report.write(report.model_dump_json().encode())

    @property
    def orders_number(self) -> int:
        """Grows with every new order, so that the engine looks at a number instead of parsing each turn."""
        return self._orders.number

    @property
    def orders(self) -> Orders:
        raw = self._orders.read()
        return Orders.model_validate_json(raw) if raw else Orders()

    @orders.setter
    def orders(self, orders: Orders) -> None:
        self._orders.write(orders.model_dump_json().encode())
