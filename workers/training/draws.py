"""What all drawn data share: combinations of attributes that come once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar


class Keyed(Protocol):
    """A combination of attributes."""

    @property
    def key(self) -> str:
        """Equal for equal combinations."""
        ...


Combination = TypeVar("Combination", bound=Keyed)


def distinct(draw: Callable[[], Combination], count: int) -> list[Combination]:
    """The first `count` distinct combinations of an endless draw."""
    found: dict[str, Combination] = {}
    while len(found) < count:
        each = draw()
        found.setdefault(each.key, each)
    return list(found.values())
