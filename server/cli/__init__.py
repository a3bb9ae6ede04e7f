"""The `rheostat` command: one file a subcommand, imported when it is chosen so that all start quickly."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from protocol.errors import RheostatError

COMMANDS = {
    "up": "everything on this machine: queue, gateway and worker; Ctrl-C drains",
    "server": "one gateway",
    "worker": "one worker",
    "generate": "a picture or a video, from a running server or one started for the call",
    "models": "what is served",
    "train": "make a reference checkpoint",
    "calibrate": "measure what each method costs and how far it strays",
    "precompute": "encode videos and captions for `train pare`",
}
PASSED_ON = ("worker", "train", "calibrate", "precompute")
"""Commands of the workers' own program; the server never imports it."""

Run = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 1 when it failed, 2 when it was called wrongly."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in PASSED_ON:
        os.execv(sys.executable, [sys.executable, "-m", "workers", *given])  # noqa: S606 - our own program
    chosen = next((word for word in given if word in COMMANDS), None)
    parser, run = _parser(chosen)
    options = parser.parse_args(given)
    try:
        return run(options)
    except (RheostatError, FileNotFoundError) as error:
        print(f"rheostat: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(chosen: str | None) -> tuple[argparse.ArgumentParser, Run]:
    """The parser, complete for the chosen command only."""
    parser = argparse.ArgumentParser(prog="rheostat", description="Diffusion with a dial for compute.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run: Run = _nothing
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == chosen and name not in PASSED_ON:
            module = import_module(f"server.cli.{name}")
            module.add_arguments(command)
            run = module.run
    return parser, run


def _nothing(_: argparse.Namespace) -> int:
    return 2
