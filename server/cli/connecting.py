"""Finding the server a command talks to."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from server.client import Client, ServerRefused
from server.places import DATA_DIR, DEFAULT_URL, NOTE_FILE


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", default=os.environ.get("RHEOSTAT_URL"), help="the server; else one that runs here"
    )
    parser.add_argument(
        "--key", default=os.environ.get("RHEOSTAT_API_KEY"), help="the API key, if one is needed"
    )
    parser.add_argument(
        "--data-dir", type=Path, default=DATA_DIR, help="where a server of this machine keeps its files"
    )


def running_client(options: argparse.Namespace) -> Client:
    """A client of the server named, or of one that runs on this machine.

    Raises:
        ServerRefused: there is none.
    """
    client = find_client(options)
    if client is None:
        raise ServerRefused("no server runs here; start one with `rheostat up`, or name one with --url")
    return client


def find_client(options: argparse.Namespace) -> Client | None:
    """As `running_client`, None where no server was named and none runs here."""
    if options.url is not None:
        return Client(options.url, options.key)
    for url in _addresses(options.data_dir):
        client = Client(url, options.key)
        if client.is_rheostat():
            return client
    return None


def _addresses(data_dir: Path) -> Iterator[str]:
    """Where a server of this machine may be: as `rheostat up` noted, then the default."""
    with suppress(OSError, ValueError, KeyError):
        yield json.loads((data_dir / NOTE_FILE).read_text())["url"]
    yield DEFAULT_URL
