"""`rheostat up`: the whole system on this machine."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

TEND_EVERY_S = 0.2
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from server.places import DATA_DIR

    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes a free one")
    parser.add_argument("--models", help="what the workers serve: names, folders or hub ids, with commas")
    parser.add_argument("--workers", type=int, default=1, help="how many workers")
    parser.add_argument("--redis-url", help="another Redis or Valkey than the embedded one")
    parser.add_argument("--data-dir", type=Path, default=DATA_DIR, help="where everything is kept")


def run(options: argparse.Namespace) -> int:
    from server.local import LocalOptions, LocalSystem

    system = LocalSystem(
        LocalOptions(
            data_dir=options.data_dir,
            host=options.host,
            port=options.port,
            models=options.models,
            workers=options.workers,
            redis_url=options.redis_url,
        )
    )
    asked_to_stop = _on_signals()
    try:
        system.start()
        system.wait_ready(lambda: not asked_to_stop.is_set())
        if not asked_to_stop.is_set():
            _say(f"Rheostat is ready at {system.url} (Ctrl-C drains and stops)")
        _tend(system.tend, asked_to_stop)
        _say("Stopping: gateway, workers, Valkey")
    finally:
        system.stop()
    return 0


def _tend(tend: Callable[[], None], asked_to_stop: threading.Event) -> None:
    while not asked_to_stop.wait(TEND_EVERY_S):
        tend()


def _on_signals() -> threading.Event:
    """Set by the first signal that asks to stop; a second one ends us, and with us all parts, at once."""
    asked = threading.Event()

    def stop(number: int, _: object) -> None:
        if asked.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        asked.set()

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    return asked


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
