"""`python -m workers`: `worker` runs a worker, `train` makes a checkpoint, `calibrate` measures one.

`engine` is for supervisors.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from protocol.methods import CACHES, FEWER_STEPS, VARIANTS

_UNFINISHED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (2: the arguments or settings are wrong, 3: out of time, call again)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(process)d: %(message)s",
    )
    run = {"worker": _worker, "engine": _engine, "train": _train, "calibrate": _calibrate}[options.command]
    return run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers")
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("worker", help="run a worker until SIGTERM")
    worker.add_argument("--config", type=Path, help="a YAML file of settings")
    for name, text in _WORKER_OPTIONS.items():
        worker.add_argument(f"--{name}", help=text, default=None)
    engine = commands.add_parser("engine")
    for name in ("channel", "board", "meter", "parent"):
        engine.add_argument(f"--{name}", type=int, required=True)
    train = commands.add_parser("train", help="make a reference checkpoint")
    train.add_argument("recipe")
    train.add_argument("--max-minutes", type=float, default=None)
    train.add_argument("--until", default=None, help="the stage to stop after")
    train.add_argument("--out", type=Path, default=None)
    _add_calibrate(
        commands.add_parser("calibrate", help="measure what each method costs and how far it strays")
    )
    return parser


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a name or a folder; calibration.json is written beside its weights")
    parser.add_argument(
        "--prompts",
        type=Path,
        default=None,
        help="a file, one prompt a line; default: its own captions",
    )
    parser.add_argument("--num-prompts", type=int, default=256)
    parser.add_argument("--dtype", default="float32", help="bfloat16, float16 or float32 (the default)")
    parser.add_argument("--work", type=Path, default=None, help="folder that an interrupted run resumes from")
    parser.add_argument("--methods", type=_methods, help="names, separated by commas; default: all")
    parser.add_argument("--max-minutes", type=float, default=None)


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - {*CACHES, *FEWER_STEPS, *VARIANTS}:
        known = ", ".join((*FEWER_STEPS, *CACHES, *VARIANTS))
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} not among {known}")
    return names


_WORKER_OPTIONS = {
    "redis-url": "redis://, rediss://, redis+sentinel:// or redis+cluster://",
    "artifacts": "folder or fsspec URL of the results",
    "models": "names, folders or hub ids, separated by commas",
    "device": "cpu, cuda, cuda:1, ...",
    "dtype": "bfloat16, float16 or float32",
    "threads": "threads of one forward",
    "name": "this worker's name",
    "max-running-jobs": "jobs in the engine at once",
    "drain-s": "seconds that running jobs get after SIGTERM",
    "metrics-host": "address of the metrics port",
    "metrics-port": "where Prometheus reads; 0: any free port",
}


def _worker(options: argparse.Namespace) -> int:
    from protocol.connection import BadRedisUrl
    from workers.metrics import PortTaken
    from workers.settings import WorkerSettings
    from workers.supervisor import Supervisor

    given = {name: getattr(options, name) for name in (key.replace("-", "_") for key in _WORKER_OPTIONS)}
    try:
        settings = WorkerSettings.load(options.config, **given)
    except (ValidationError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return asyncio.run(Supervisor(settings).run())
    except (BadRedisUrl, PortTaken) as error:
        print(error, file=sys.stderr)
        return 2


def _engine(options: argparse.Namespace) -> int:
    from workers.zygote import ZygoteOptions
    from workers.zygote import main as zygote

    fields = ZygoteOptions.model_fields
    return zygote(ZygoteOptions(**{name: getattr(options, name) for name in fields}))


def _train(options: argparse.Namespace) -> int:
    from workers.training.recipes import train

    done = train(options.recipe, max_minutes=options.max_minutes, until=options.until, out=options.out)
    return 0 if done else _UNFINISHED


def _calibrate(options: argparse.Namespace) -> int:
    from workers.training.calibration.calibrate import calibrate

    written = calibrate(
        options.model,
        prompts_file=options.prompts,
        num_prompts=options.num_prompts,
        dtype=options.dtype,
        work=options.work,
        methods=options.methods,
        max_minutes=options.max_minutes,
    )
    print(written or "not finished; the same call goes on from here", file=sys.stderr)
    return 0 if written else _UNFINISHED
