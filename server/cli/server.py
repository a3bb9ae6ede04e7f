"""`rheostat server`: one gateway."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

OPTIONS = {
    "host": "address to listen on",
    "port": "port to listen on",
    "redis_url": "redis://, rediss://, redis+sentinel:// or redis+cluster://",
    "artifacts": "folder or fsspec URL of the results",
    "public_url": "what callers reach this gateway by",
    "default_model": "for requests that name none",
    "sync_wait_s": "how long a synchronous call may wait",
    "log_format": "auto, text or json",
    "log_level": "debug, info, warning or error",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, help="a YAML file of settings")
    for name, text in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=text)
    parser.add_argument("--ready-needs-worker", action="store_true", default=None)
    parser.add_argument("--allow-anonymous", action="store_true", default=None)
    parser.add_argument("--listen-fd", type=int, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    from pydantic import ValidationError

    from protocol.artifacts import NoDriver
    from protocol.connection import BadRedisUrl
    from protocol.jobqueue import UnsuitableServer
    from protocol.logs import set_up
    from protocol.tracing import NoTracing
    from server.serving import run as serve
    from server.settings import ServerSettings

    names = (*OPTIONS, "ready_needs_worker", "allow_anonymous")
    try:
        settings = ServerSettings.load(options.config, **{name: getattr(options, name) for name in names})
    except ValidationError as error:
        print(f"rheostat: {error}", file=sys.stderr)
        return 2
    set_up(settings.log_format, settings.log_level)
    try:
        serve(settings, options.listen_fd)
    except (UnsuitableServer, BadRedisUrl, NoDriver, NoTracing) as error:
        print(f"rheostat: {error}", file=sys.stderr)
        return 2
    return 0
