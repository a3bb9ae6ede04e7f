"""An engine process from its fork to its exit code."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from functools import partial

import torch

from protocol.artifacts import ArtifactStore
from protocol.catalog import CatalogEntry
from protocol.jobqueue import Catalog, JobQueue
from protocol.logs import set_up
from protocol.metrics import budget_label
from protocol.states import WorkerState
from workers.board import Board, Report
from workers.engine import Engine, Follower
from workers.meter import Meter
from workers.models import picture_model
from workers.patience import end, patiently
from workers.place import ALL_ALONE, Place
from workers.runtime import Runtime
from workers.settings import WorkerSettings
from workers.speed import Speedometer
from workers.warmup import engine_settings, load_models, make_engine, warm_up

_LOG = logging.getLogger("rheostat.worker")
_BEAT_S = 1.0
UNFIT = 3
"""Exit code of a process whose models did not load, warm up or pass the self-test."""


def import_ahead() -> None:
    """Import what loading a model will need, all of it: the zygote calls this before it forks."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    import workers.models.flux  # noqa: F401

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def run_follower(settings: WorkerSettings, place: Place) -> int:
    """Load as rank 0 does and follow it to its end; the exit code."""
    torch.set_num_threads(settings.threads)
    (model,) = load_models(settings, place)
    Follower(picture_model(model), engine_settings(settings).max_forecasts).run()
    return 0


def run_engine(
    worker: str, settings: WorkerSettings, *, board_fd: int, meter_fd: int, place: Place = ALL_ALONE
) -> int:
    """Warm up, serve until drained; the exit code."""
    set_up(settings.log_format, settings.log_level)
    board = Board(board_fd)
    board.report = Report(state=WorkerState.WARMING)
    meter = Meter(socket.socket(fileno=meter_fd))
    speed = Speedometer()
    try:
        engine, entries = _warm(settings, meter, speed, place)
        asyncio.run(
            _serve(worker, settings, board=board, engine=engine, entries=entries, meter=meter, speed=speed)
        )
        engine.leader.stop()
    except Exception as error:
        if board.report.state is not WorkerState.WARMING:
            raise
        _LOG.exception("the engine is unfit")
        board.report = Report(state=WorkerState.WARMING, unfit=f"{type(error).__name__}: {error}"[:2000])
        return UNFIT
    finally:
        meter.flush()
    return 0


def _warm(
    settings: WorkerSettings, meter: Meter, speed: Speedometer, place: Place
) -> tuple[Engine, list[CatalogEntry]]:
    models = load_models(settings, place)
    engine = make_engine(models, settings)
    entries = [model.catalog for model in models]
    for entry in entries:
        meter.expect(entry.name, [budget_label(budget) for budget in entry.calibrated_budgets])
    warm_up(engine, entries, meter, speed)
    meter.flush()
    return engine, [one.model_copy(update={"tflops_per_second": speed.of(one.name)}) for one in entries]


async def _beat(board: Board) -> None:
    """Show that the process lives while it waits for others: a Redis that is away is no fault of its own."""
    while True:
        board.beat()
        await asyncio.sleep(_BEAT_S)


async def _serve(
    worker: str,
    settings: WorkerSettings,
    *,
    board: Board,
    engine: Engine,
    entries: Sequence[CatalogEntry],
    meter: Meter,
    speed: Speedometer,
) -> None:
    waiting = asyncio.create_task(_beat(board))
    queue = await patiently(partial(JobQueue.connect, settings.redis_url, settings.queue), "the worker")
    try:
        catalog, store = Catalog(queue), ArtifactStore(settings.artifacts, settings.s3)
        await patiently(partial(store.ensure_shared, catalog), "the artifact store")
        for entry in entries:
            await patiently(partial(catalog.put, entry), "the catalog")
        await end([waiting])
        runtime = Runtime(
            worker,
            settings,
            board=board,
            engine=engine,
            entries=entries,
            queue=queue,
            store=store,
            meter=meter,
            speed=speed,
        )
        await runtime.run()
    finally:
        await queue.close()
