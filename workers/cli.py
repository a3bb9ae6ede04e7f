"""`python -m workers`: `worker` runs a worker, `train` makes a checkpoint, `calibrate` measures one.

`precompute` encodes videos that `train pare` learns from. `engine` is for supervisors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from protocol.logs import set_up
from protocol.methods import CACHES, FEWER_STEPS, LEARNED, VARIANTS

if TYPE_CHECKING:
    from workers.place import Place
    from workers.settings import WorkerSettings
    from workers.training.pare.settings import PareSettings

_UNFINISHED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (2: the arguments or settings are wrong, 3: out of time, call again)."""
    options = _parser().parse_args(arguments)
    set_up("auto" if options.command == "engine" else "text", "info")
    run = {
        "worker": _worker,
        "engine": _engine,
        "train": _train,
        "calibrate": _calibrate,
        "precompute": _precompute,
    }[options.command]
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
    _add_train(commands.add_parser("train", help="make a reference checkpoint"))
    _add_calibrate(
        commands.add_parser("calibrate", help="measure what each method costs and how far it strays")
    )
    _add_precompute(commands.add_parser("precompute", help="encode videos and captions for `train pare`"))
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe")
    parser.add_argument("--max-minutes", type=float, default=None)
    parser.add_argument("--until", default=None, help="the stage to stop after")
    parser.add_argument("--out", type=Path, default=None)
    pare = parser.add_argument_group("of the recipe pare alone")
    pare.add_argument("--teacher", help="a name or a folder")
    pare.add_argument("--data", type=Path, help="what `precompute` wrote; default: wan-tiny's clips")
    pare.add_argument("--control", help="make this control instead of the student")
    pare.add_argument("--settings", type=Path, help="a JSON file of settings that differ from the defaults")
    pare.add_argument(
        "--states", type=Path, nargs="+", help="the teacher's training states, for `roles.json`"
    )


def _add_precompute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("teacher", type=Path, help="the pipeline folder")
    parser.add_argument("videos", type=Path, help="*.mp4, each with its caption in a .txt")
    parser.add_argument("out", type=Path, help="where the shards go")
    for name, value in (("width", 832), ("height", 480), ("num-frames", 81)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")


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
    parser.add_argument("--reference", help="the model to compare with, a student's teacher; default: itself")
    parser.add_argument("--max-minutes", type=float, default=None)


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    allowed = (*FEWER_STEPS, *CACHES, *VARIANTS, LEARNED, "static-drop")
    if unknown := set(names) - set(allowed):
        known = ", ".join(allowed)
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} not among {known}")
    return names


_WORKER_OPTIONS = {
    "redis-url": "redis://, rediss://, redis+sentinel:// or redis+cluster://",
    "artifacts": "folder or fsspec URL of the results",
    "models": "names, folders or hub ids, separated by commas",
    "device": "cpu, cuda, cuda:1, ...",
    "dtype": "bfloat16, float16 or float32",
    "threads": "threads of one forward",
    "ranks": "processes that share every forward",
    "name": "this worker's name",
    "max-running-jobs": "jobs in the engine at once",
    "drain-s": "seconds that running jobs get after SIGTERM",
    "log-format": "auto, text or json",
    "log-level": "debug, info, warning or error",
    "metrics-host": "address of the metrics port",
    "metrics-port": "where Prometheus reads; 0: any free port",
}


def _worker(options: argparse.Namespace) -> int:
    from protocol.connection import BadRedisUrl
    from protocol.tracing import NoTracing
    from workers.metrics import PortTaken
    from workers.place import Place
    from workers.settings import WorkerSettings
    from workers.supervisor import Supervisor

    given = {name: getattr(options, name) for name in (key.replace("-", "_") for key in _WORKER_OPTIONS)}
    try:
        settings = WorkerSettings.load(options.config, **given)
    except (ValidationError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    set_up(settings.log_format, settings.log_level)
    place = Place.from_environment()
    if place.launched and settings.ranks != place.size:
        print(f"ranks is {settings.ranks}, but {place.size} were started; allowed: the same", file=sys.stderr)
        return 2
    if place.rank:
        return _follow(settings, place)
    try:
        return asyncio.run(Supervisor(settings).run())
    except (BadRedisUrl, PortTaken, NoTracing) as error:
        print(error, file=sys.stderr)
        return 2


def _follow(settings: WorkerSettings, place: Place) -> int:
    """Be a rank that another's supervisor speaks for; it ends when rank 0 does, not when it is asked to."""
    from workers.engine_process import import_ahead, run_follower
    from workers.lifeline import leave_signals_to_the_supervisor

    leave_signals_to_the_supervisor()
    import_ahead()
    return run_follower(settings, place)


def _engine(options: argparse.Namespace) -> int:
    from workers.zygote import ZygoteOptions
    from workers.zygote import main as zygote

    fields = ZygoteOptions.model_fields
    return zygote(ZygoteOptions(**{name: getattr(options, name) for name in fields}))


def _train(options: argparse.Namespace) -> int:
    from workers.training.recipes import train

    own: dict[str, Any] = {name: getattr(options, name) for name in ("teacher", "data")}
    own = {name: value for name, value in own.items() if value is not None}
    if options.recipe == "pare":
        own["settings"] = _pare_settings(options)
    done = train(options.recipe, max_minutes=options.max_minutes, until=options.until, out=options.out, **own)
    return 0 if done else _UNFINISHED


def _pare_settings(options: argparse.Namespace) -> PareSettings:
    from workers.training.pare.settings import CONTROLS, PareSettings

    if options.control is not None and options.control not in CONTROLS:
        raise SystemExit(f"no control {options.control!r}; there are: {', '.join(CONTROLS)}")
    settings = PareSettings() if options.control is None else CONTROLS[options.control]
    changes = json.loads(options.settings.read_text("utf-8")) if options.settings else {}
    states = {"teacher_states": options.states} if options.states else {}
    return PareSettings.model_validate(_changed(settings.model_dump(), changes | states))


def _changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The base with these entries in place of its own, group by group."""
    groups = {name: value for name, value in changes.items() if isinstance(base.get(name), dict)}
    return base | changes | {name: _changed(base[name], value) for name, value in groups.items()}


def _precompute(options: argparse.Namespace) -> int:
    from workers.training.pare.precompute import precompute

    count = precompute(
        options.teacher,
        options.videos,
        options.out,
        width=options.width,
        height=options.height,
        num_frames=options.num_frames,
        device=options.device,
    )
    print(f"{count} clips in {options.out}")
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from workers.training.calibration.calibrate import calibrate

    written = calibrate(
        options.model,
        prompts_file=options.prompts,
        num_prompts=options.num_prompts,
        dtype=options.dtype,
        work=options.work,
        methods=options.methods,
        reference=options.reference,
        max_minutes=options.max_minutes,
    )
    print(written or "not finished; the same call goes on from here", file=sys.stderr)
    return 0 if written else _UNFINISHED
