"""Enough of PromQL to say which series and which labels an expression names.

Syntax is promtool's to check; this reads what promtool cannot know: whether anybody exports such a thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*")|(?P<range>\[[^\]]*\])|(?P<duration>\d[\d.]*(?:ms|[smhdwy])\b)"""
    r"""|(?P<number>\d[\d.e+-]*)|(?P<name>[a-zA-Z_:][\w:]*)|(?P<op>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},])"""
)
_WORDS = {"and", "or", "unless", "offset", "bool"}
_AGGREGATION = {"by", "without"}
_MATCHING = {"on", "ignoring", "group_left", "group_right"}


@dataclass
class Selector:
    """A series as named: `matchers` are (label, operator, value); `grouped_by` what aggregations keep."""

    name: str
    matchers: list[tuple[str, str, str]] = field(default_factory=list)
    grouped_by: set[str] = field(default_factory=set)


@dataclass
class Reading:
    """What an expression names; `matched_on` are labels by which two sides are matched."""

    selectors: list[Selector]
    matched_on: set[str]


def read(expr: str) -> Reading:
    """Take an expression apart."""
    tokens = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(expr)]
    reading = Reading([], set())
    _read(iter(range(len(tokens))), tokens, reading)
    return reading


def _read(places: Iterator[int], tokens: list[tuple[str, str]], reading: Reading) -> None:
    pending: set[str] = set()
    scopes: list[set[str]] = []
    for place in places:
        kind, text = tokens[place]
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        if text == "(":
            scopes.append(pending)
            pending = set()
        elif text == ")":
            scopes.pop()
        elif kind != "name" or text in _WORDS:
            continue
        elif text in _AGGREGATION | _MATCHING:
            labels = _listed(places, tokens) if following == "(" else set()
            pending = labels if text in _AGGREGATION else pending
            reading.matched_on |= labels if text in _MATCHING else set()
        elif following != "(" and text not in {"sum", "max", "min", "avg", "count"}:
            matchers = _matchers(places, tokens) if following == "{" else []
            reading.selectors.append(Selector(text, matchers, set().union(*scopes)))


def _listed(places: Iterator[int], tokens: list[tuple[str, str]]) -> set[str]:
    """Names up to the closing parenthesis."""
    labels = set()
    for place in places:
        kind, text = tokens[place]
        if text == ")":
            break
        if kind == "name":
            labels.add(text)
    return labels


def _matchers(places: Iterator[int], tokens: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    found = []
    for place in places:
        kind, text = tokens[place]
        if text == "}":
            break
        if kind == "name":
            found.append((text, tokens[place + 1][1], tokens[place + 2][1][1:-1]))
    return found
