"""Fixtures every room may use: real Valkey and S3 servers of our own, and tiny real FLUX and Wan folders."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = [
    f"tests.plugins.{name}" for name in ("valkey", "s3", "otlp", "flux", "wan", "pare", "sequences")
]


@pytest.fixture
def written(logs_as_before: None) -> io.StringIO:
    """What goes into this process' log from now on, as JSON."""
    from protocol.logs import set_up

    stream = io.StringIO()
    set_up("json", "info", stream)
    return stream


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Undo what a program that ran in this process set up."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(False)
