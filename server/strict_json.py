"""JSON as the contract wants it: finite numbers, honest text, no name twice, nothing that breaks a parser.

The standard parser with hooks. What is wrong is noted where it stands and found by a walk over the tree, so
that the error can name the path. Messages never repeat what was sent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from protocol.errors import BadRequest, InvalidRequest

MAX_DIGITS = 100
"""A longer integer is no number anybody means; Python itself refuses from 4,300 on."""
MAX_DEPTH = 64

_SHOWABLE = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)


class _TooLong:
    """Stands where an integer of too many digits stood."""


class _Twice(dict[str, Any]):
    """An object in which `name` stood more than once."""

    def __init__(self, pairs: list[tuple[str, Any]], name: str) -> None:
        super().__init__(pairs)
        self.name = name


def parse(body: bytes) -> Any:
    """The value `body` spells.

    Raises:
        BadRequest: it is not JSON, is nested too deeply or has a name twice.
        InvalidRequest: a number is not finite or far too long, or text is not Unicode; `param` says where.
    """
    try:
        tree = json.loads(
            body.decode("utf-8"), parse_int=_integer, object_pairs_hook=_object, parse_constant=float
        )
    except (ValueError, RecursionError):
        # `from None`: the original quotes the input.
        raise BadRequest("the body is not valid JSON", code="malformed_json") from None
    for path, problem in _problems(tree):
        _refuse(path, problem)
    return tree


def show_path(path: tuple[Any, ...]) -> str | None:
    """`path` with dots, as far as its names are harmless to repeat; None for the root."""
    shown: list[str] = []
    for part in path:
        if not _SHOWABLE.fullmatch(str(part)):
            break
        shown.append(str(part))
    return ".".join(shown) or None


def _integer(digits: str) -> Any:
    return int(digits) if len(digits) <= MAX_DIGITS else _TooLong()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return _Twice(pairs, name)
        seen.add(name)
    return dict(pairs)


def _problems(tree: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every fault in the tree with its path; without recursion, so that depth cannot hurt."""
    pending: list[tuple[tuple[Any, ...], Any]] = [((), tree)]
    while pending:
        path, value = pending.pop()
        if len(path) > MAX_DEPTH:
            yield path[:2], "depth"
            return
        if isinstance(value, _Twice):
            yield (*path, value.name), "twice"
        if isinstance(value, dict):
            if any(_broken(name) for name in value):
                yield path, "name"
            pending.extend(((*path, name), inner) for name, inner in value.items())
        elif isinstance(value, list):
            pending.extend(((*path, index), inner) for index, inner in enumerate(value))
        elif (fault := _fault(value)) is not None:
            yield path, fault


def _fault(value: Any) -> str | None:
    if isinstance(value, _TooLong):
        return "digits"
    if isinstance(value, float) and not math.isfinite(value):
        return "finite"
    if isinstance(value, str) and _broken(value):
        return "text"
    return None


def _broken(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _refuse(path: tuple[Any, ...], problem: str) -> NoReturn:
    param = show_path(path)
    if problem == "depth":
        raise BadRequest(f"the body is nested more than {MAX_DEPTH} deep", code="malformed_json", param=param)
    if problem == "twice":
        raise BadRequest("a name stands twice in one object", code="duplicate_field", param=param)
    if problem == "name":
        raise InvalidRequest("a field name is not valid Unicode text", code="unknown_field", param=param)
    messages = {
        "digits": f"must be a number of at most {MAX_DIGITS} digits",
        "finite": "must be a finite number",
        "text": "must be valid Unicode text (it holds a lone surrogate)",
    }
    raise InvalidRequest(messages[problem], param=param)
