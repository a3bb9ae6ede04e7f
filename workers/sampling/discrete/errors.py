"""What a caller hears who asks for something that cannot be."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.errors import InvalidRequest


class InvalidArgument(InvalidRequest, ValueError):
    """An argument of `sample` that is not allowed; `param` names it, `details["allowed"]` says what is."""


def refuse(param: str, value: object, allowed: str | Iterable[str]) -> InvalidArgument:
    """The error for a value, with what would have been taken."""
    wanted = allowed if isinstance(allowed, str) else ", ".join(allowed)
    return InvalidArgument(
        f"{param}: {value} is not allowed; allowed: {wanted}", param=param, details={"allowed": wanted}
    )
