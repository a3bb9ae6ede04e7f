"""A stage stopped after two steps and taken up again, beside one that ran through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.training.resumable import Checkpoints, Deadline, Trainee, run


def resumed_and_through(build: Callable[[], Trainee], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The states at the end of both; each trainee is built anew, as each process would."""
    through = build()
    assert run(through, Checkpoints(folder / "through", "stage"), Deadline())
    stopped = build()
    for index in range(2):
        stopped.step(index)
    Checkpoints(folder / "resumed", "stage").save(2, stopped.state_dict())
    resumed = build()
    assert run(resumed, Checkpoints(folder / "resumed", "stage"), Deadline())
    return resumed.state_dict(), through.state_dict()
