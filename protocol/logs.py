"""Log lines: readable on a terminal, one JSON object a line elsewhere.

Whoever handles a request or a job says so once, with `about` or `mention`, and every line written meanwhile
carries its ids. Prompts and keys are never logged: messages name jobs, models and errors, and what pydantic
says of a request leaves its values out.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Literal, TextIO

LogFormat = Literal["auto", "text", "json"]
"""`auto`: text where somebody reads along on a terminal, else JSON."""
LogLevel = Literal["debug", "info", "warning", "error"]

_TEXT = "%(asctime)s %(levelname)s %(name)s %(process)d: %(message)s"
_NO_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
_LOG = logging.getLogger("rheostat")


def set_up(form: LogFormat, level: LogLevel, stream: TextIO | None = None) -> None:
    """Send all log lines of this process to `stream` (None: standard error), warnings and last words too."""
    stream = sys.stderr if stream is None else stream
    as_json = form == "json" or (form == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _last_words


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Have all lines written meanwhile, also by tasks begun meanwhile, carry these ids."""
    token = _ABOUT.set({**_ABOUT.get(), **ids})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def mention(**ids: str) -> None:
    """As `about`, until the `about` around it ends."""
    _ABOUT.set({**_ABOUT.get(), **ids})


def of_job(name: str) -> dict[str, str]:
    """The ids of a job by its name, `tenant/id`. What follows a `#`, as in an engine's ids, is left out."""
    tenant, slash, job_id = name.partition("#")[0].rpartition("/")
    return {"tenant": tenant, "job_id": job_id} if slash else {"job_id": job_id}


class TextFormatter(logging.Formatter):
    """A line to read, its ids and other fields at its end."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """The line without its traceback."""
        told = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        line = super().formatMessage(record)
        return f"{line} [{told}]" if told else line


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, logger, process and message, then ids and other fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, its traceback in `exception`."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """The ids of what goes on, and what was given as `extra`."""
    extra = {name: value for name, value in vars(record).items() if name not in _NO_FIELDS}
    return {**_ABOUT.get(), **extra}


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An exception nobody caught, as a line of the log."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _LOG.critical("the process ends by an error", exc_info=(kind, error, trace))
