"""A training loop that can be stopped at any moment and goes on bit for bit.

No generator state is kept: everything random in step k is drawn from seeds made of (seed, k), so the state of
a run is its step, its tensors and its optimiser.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import distributed


class Trainee(Protocol):
    """Something that is trained a step at a time."""

    num_steps: int

    def step(self, index: int) -> float:
        """Train step `index`, with randomness from that number alone; returns the loss."""

    def state_dict(self) -> dict[str, Any]:
        """Everything the following steps depend on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state made by `state_dict`."""


class ScheduledTrainee:
    """The state of a trainee that is one network, one optimiser and one schedule of its rate."""

    network: Any
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and schedule."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


class Deadline:
    """Minutes of wall clock that a recipe may use, or no limit; with several ranks, rank 0's clock counts."""

    def __init__(self, max_minutes: float | None = None) -> None:
        self._ends = None if max_minutes is None else time.monotonic() + 60 * max_minutes

    def minutes_left(self) -> float | None:
        """Minutes until it passes, None without a limit."""
        return None if self._ends is None else max(0.0, (self._ends - time.monotonic()) / 60)

    def passed(self) -> bool:
        """Whether the time is used up; all ranks get the same answer at the same step."""
        passed = self._ends is not None and time.monotonic() > self._ends
        if not (distributed.is_available() and distributed.is_initialized()):
            return passed
        verdict = torch.tensor([passed])
        distributed.broadcast(verdict, src=0)
        return bool(verdict)


@dataclass(frozen=True)
class Checkpoints:
    """The states of one stage on disk: a file a rank and step, the last two steps and the milestones kept.

    Two steps are kept because a kill may come after one rank has saved and before another has; the stage goes
    on from the newest step that every rank has.
    """

    folder: Path
    stage: str
    rank: int = 0
    ranks: int = 1
    milestones: frozenset[int] = frozenset()

    def path(self, rank: int, step: int) -> Path:
        """The file of a rank's state after `step` steps."""
        return self.folder / f"{self.stage}-rank{rank}-{step:06d}.pt"

    def latest(self) -> int:
        """The newest step all ranks have, 0 for none."""
        common = set.intersection(*({*self._steps(rank)} for rank in range(self.ranks)))
        return max(common, default=0)

    def load(self, step: int) -> dict[str, Any]:
        """This rank's state after `step` steps."""
        state: dict[str, Any] = torch.load(self.path(self.rank, step), weights_only=True)
        return state

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a state so that a kill leaves a whole file or none, and drop states no longer needed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(self.rank, step)
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)
        for old in sorted(self._steps(self.rank))[:-2]:
            if old not in self.milestones:
                self.path(self.rank, old).unlink()

    def _steps(self, rank: int) -> list[int]:
        names = (path.name for path in self.folder.glob(f"{self.stage}-rank{rank}-*.pt"))
        return [int(match[1]) for name in names if (match := re.search(r"-(\d{6})\.pt$", name))]


def step_seed(*parts: object) -> int:
    """A 63-bit seed from any values that print the same everywhere."""
    digest = hashlib.sha256("-".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def run(trainee: Trainee, checkpoints: Checkpoints, deadline: Deadline, *, every_steps: int = 200) -> bool:
    """Train from the newest checkpoint (or the start) to the end, saving every `every_steps`.

    Returns:
        True when all steps are done, False when the deadline came first.
    """
    start = checkpoints.latest()
    if start:
        trainee.load_state_dict(checkpoints.load(start))
    began, total = time.monotonic(), 0.0
    for index in range(start, trainee.num_steps):
        total += trainee.step(index)
        done = index + 1
        stop = deadline.passed()
        if stop or done == trainee.num_steps or done % every_steps == 0 or done in checkpoints.milestones:
            checkpoints.save(done, trainee.state_dict())
        if done % 50 == 0 and checkpoints.rank == 0:
            rate = (done - start) / (time.monotonic() - began)
            progress = f"{done}/{trainee.num_steps} loss {total / 50:.4f} {rate:.2f}/s"
            print(checkpoints.stage, progress, flush=True)
            total = 0.0
        if stop:
            return done == trainee.num_steps
    return True
