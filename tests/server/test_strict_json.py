"""JSON as the contract wants it. The whole path is in `test_bad_requests`; here are the corners."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.errors import BadRequest, InvalidRequest, RheostatError
from server.strict_json import MAX_DEPTH, MAX_DIGITS, parse


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, "x", None, True, {"b": []}]},
        {"emoji": "\U0001f600", "umlaut": "\u00e4"},
        {"big": 10 ** (MAX_DIGITS - 1), "negative": -(2**80)},
        [],
        "text",
        {"": 1},
    ],
)
def test_good_json_is_what_the_standard_parser_says(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


def test_a_surrogate_pair_is_one_character() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ('{"a": {"b": [1, NaN]}}', "a.b.1"),
        ('{"a": -Infinity}', "a"),
        ('{"a": 1e400}', "a"),
        ('{"a": "\\udc00"}', "a"),
        ('{"a": {"\\udc00": 1}}', "a"),
        ('{"\\udc00": 1}', None),
        (f'{{"a": -{"9" * 101}}}', "a"),
        ('{"a b": NaN}', None),
        ('{"a": {"x y": NaN}}', "a"),
        ("NaN", None),
    ],
)
def test_values_are_refused_by_path(body: str, param: str | None) -> None:
    """Names that are not plain words are not repeated; the path ends before them."""
    with pytest.raises(InvalidRequest) as caught:
        parse(body.encode())
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body", ["", "{", "[1,]", "{'a': 1}", '{"a": 01}', "nul", '{"a": 1} x', "\ufeff{}", "\x00"]
)
def test_other_text_is_malformed(body: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(body.encode())
    assert caught.value.code == "malformed_json"
    assert caught.value.__cause__ is None


def test_depth_has_a_limit_at_every_parser_depth() -> None:
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 2, 900, 1_100, 100_000, 1_000_000):
        with pytest.raises(RheostatError) as caught:
            parse(b"[" * depth + b"]" * depth)
        assert caught.value.code == "malformed_json"


def test_the_same_name_in_two_objects_is_fine() -> None:
    assert parse(b'{"a": {"x": 1}, "b": {"x": 1}}') == {"a": {"x": 1}, "b": {"x": 1}}
    with pytest.raises(BadRequest) as caught:
        parse(b'{"b": {"x": 1, "y": 2, "x": 1}}')
    assert (caught.value.code, caught.value.param) == ("duplicate_field", "b.x")
