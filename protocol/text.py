"""Text as it may enter the system: valid UTF-8 without NUL; and JSON that holds nothing else."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, JsonValue


def require_clean(text: str) -> str:
    """Return `text` unchanged.

    Raises:
        ValueError: it holds a NUL or a lone surrogate, which tokenizers and Redis keys do not take.
    """
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be valid Unicode text (it holds a lone surrogate)")
    return text


def require_clean_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return `value` unchanged.

    Raises:
        ValueError: a key or a text anywhere in it is not clean, or a number is not finite.
    """
    rest: list[JsonValue] = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            require_clean(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError("must hold finite numbers only")
        elif isinstance(item, list):
            rest.extend(item)
        elif isinstance(item, dict):
            rest.extend(item.keys())
            rest.extend(item.values())
    return value


CleanText = Annotated[str, AfterValidator(require_clean)]
CleanObject = Annotated[dict[str, JsonValue], AfterValidator(require_clean_json)]
