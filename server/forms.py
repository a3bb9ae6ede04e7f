"""Form bodies as the tree JSON would give: `multipart/form-data` and `application/x-www-form-urlencoded`.

Names in brackets are paths, `compute_budget[fraction]`; an empty last bracket, `[methods][]`, adds to a list.
Every value is text; a file is base64, because that is how JSON carries one. Which text stands for a number
only the reader of the form knows: see `numbers`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from protocol.errors import BadRequest, InvalidRequest
from server.strict_json import show_path

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
MAX_FIELDS = 128
MAX_DEPTH = 4

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_LITERAL = re.compile(
    r"-?(0|[1-9][0-9]{0,98})(\.[0-9]{1,99})?([eE][+-]?[0-9]{1,3})?|true|false|null", re.ASCII
)


class Field(NamedTuple):
    """One part of a form. `file` says whether it came with a file's name."""

    name: str
    value: bytes
    file: bool = False


def parse(body: bytes, content_type: str, *, files: Collection[str] = ()) -> Any:
    """The tree the form spells.

    Args:
        content_type: the header, with its boundary.
        files: fields that may be files.

    Raises:
        BadRequest: it is not a form, or a name stands twice.
        InvalidRequest: text is not Unicode, or a file stands where none may; `param` says where.
    """
    tree: dict[str, Any] = {}
    for count, field in enumerate(_fields(body, content_type)):
        if count >= MAX_FIELDS:
            raise BadRequest(f"a form has at most {MAX_FIELDS} fields", code="malformed_form")
        path = _path(field.name)
        if field.file and field.name not in files:
            raise InvalidRequest("this field is no file", param=show_path(path))
        _put(tree, path, base64.b64encode(field.value).decode() if field.file else _text(path, field.value))
    return tree


def numbers(tree: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The tree with numbers, true, false and null where the text at one of the dotted `names` spells one."""
    return {name: _read(value, name, names) for name, value in tree.items()}


def _read(value: Any, path: str, names: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {name: _read(inner, f"{path}.{name}", names) for name, inner in value.items()}
    if path in names and isinstance(value, str) and _LITERAL.fullmatch(value):
        return json.loads(value)
    return value


def _fields(body: bytes, content_type: str) -> Iterator[Field]:
    header = Message()
    header["content-type"] = content_type
    if header.get_content_type() == MULTIPART:
        boundary = header.get_boundary()
        if not boundary or not boundary.isascii():
            raise BadRequest("the content type names no boundary", code="malformed_form")
        yield from _parts(body, boundary.encode())
        return
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="surrogateescape"
        )
    except ValueError:
        raise _malformed() from None
    for name, value in pairs:
        yield Field(name, value.encode(errors="surrogateescape"))


def _parts(body: bytes, boundary: bytes) -> Iterator[Field]:
    """The parts between boundaries, RFC 7578; text before the first and after the last is ignored."""
    line = b"\r\n--" + boundary
    pieces = (b"\r\n" + body).split(line)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise _malformed()
    for piece in pieces[1:-1]:
        head, gap, value = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not piece.startswith(b"\r\n") or not gap:
            raise _malformed()
        yield _part(head, value)


def _part(head: bytes, value: bytes) -> Field:
    headers = Message()
    for line in head.split(b"\r\n"):
        name, _, content = line.decode(errors="replace").partition(":")
        headers[name.strip() or "-"] = content.strip()
    disposition = headers.get_params(header="content-disposition") or []
    named = {key.lower(): text for key, text in disposition}
    if "form-data" not in named or not isinstance(named.get("name"), str):
        raise _malformed()
    return Field(named["name"], value, "filename" in named)


def _path(name: str) -> tuple[str, ...]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise BadRequest("a field's name is not readable", code="malformed_form", param=show_path((name,)))
    path = (found[1], *re.findall(r"\[([^\[\]]*)\]", found[2]))
    if len(path) > MAX_DEPTH:
        raise BadRequest("a field's name is nested too deeply", code="malformed_form", param=show_path(path))
    return path


def _put(tree: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    is_list = path[-1] == "" and len(path) > 1
    *way, last = path[:-1] if is_list else path
    for name in way:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise _twice(path)
    if is_list:
        found = tree.setdefault(last, [])
        if not isinstance(found, list):
            raise _twice(path)
        found.append(value)
    elif last in tree:
        raise _twice(path)
    else:
        tree[last] = value


def _text(path: tuple[str, ...], value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("must be valid Unicode text", param=show_path(path)) from None


def _twice(path: tuple[str, ...]) -> BadRequest:
    return BadRequest("a name stands twice in one object", code="duplicate_field", param=show_path(path))


def _malformed() -> BadRequest:
    return BadRequest("the body is not a valid form", code="malformed_form")
