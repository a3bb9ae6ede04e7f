"""A bar that follows the real steps of a job and the compute they spent."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from server.client import Json, SeenEvent


class StepProgress:
    """On standard error, so that standard output stays the receipt's."""

    def __init__(self, job: Json) -> None:
        self._tflops = 0.0
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[tflops]:.4f} TFLOPs"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        total = job["progress"]["num_steps"]
        self._task = self._progress.add_task(job["status"], total=total, tflops=0.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: SeenEvent) -> None:
        """Move by one event. A requeued job starts over, its bar too."""
        if event.name == "step":
            self._tflops += event.data["tflops"]
            self._progress.update(self._task, advance=1, tflops=self._tflops, description="running")
        elif event.name == "requeued":
            self._tflops = 0.0
            self._progress.update(self._task, completed=0, tflops=0.0, description="requeued")
        elif event.name in ("started", "completed", "failed", "cancelled", "cancelling"):
            self._progress.update(self._task, description=event.name)
