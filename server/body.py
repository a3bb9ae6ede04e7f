"""From a request's bytes to a validated model, with the contract's errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from protocol.errors import BadRequest, BodyTooLarge, InvalidRequest, UnsupportedMediaType
from server import forms, strict_json
from server.settings import ServerSettings

Model = TypeVar("Model", bound=BaseModel)
FormReader = Callable[[bytes, str], Any]
"""From a form's body and its content type to the tree that JSON would give."""

_LIMITS = {
    "ge": "min",
    "gt": "above",
    "le": "max",
    "lt": "below",
    "min_length": "min_length",
    "max_length": "max_length",
}


async def read_model(request: Request, model: type[Model], settings: ServerSettings) -> Model:
    """The request's body as a `model`.

    Raises:
        UnsupportedMediaType, BodyTooLarge, BadRequest, InvalidRequest: as the contract says, with `param`.
    """
    require_json(request)
    body = await read_body(request, settings)
    return validate(model, strict_json.parse(body))


async def read_json_or_form(
    request: Request, model: type[Model], settings: ServerSettings, read_form: FormReader
) -> Model:
    """The request's body as a `model`, whichever of the two it is; raises as `read_model` does."""
    if _media_type(request) not in (forms.MULTIPART, forms.URLENCODED):
        require_json(request, forms.MULTIPART, forms.URLENCODED)
        return await read_model(request, model, settings)
    body = await read_body(request, settings)
    return validate(model, read_form(body, request.headers["content-type"]))


def require_json(request: Request, *others: str) -> None:
    """Refuse what is not JSON; `others` are named in the refusal because they would do as well."""
    media_type = _media_type(request)
    if media_type != "application/json" and not media_type.endswith("+json"):
        allowed = ["application/json", *others]
        raise UnsupportedMediaType(f"send {' or '.join(allowed)}", details={"allowed": [*allowed]})


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, settings: ServerSettings) -> bytes:
    """All of the body, never holding more than the limit.

    Raises:
        BodyTooLarge: by its Content-Length, or by its chunks as they come.
        BadRequest: it did not arrive in time, or the caller left.
    """
    limit = settings.max_body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await _collect(request, limit)
    except (TimeoutError, ClientDisconnect) as error:
        raise BadRequest("the body did not arrive", code="incomplete_body") from error


async def _collect(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is over {limit} bytes", details={"allowed": {"max_bytes": limit}})


def validate(model: type[Model], tree: Any) -> Model:
    """`tree` as a `model`; the first fault becomes an InvalidRequest that names its field."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        # `from None`: pydantic's own text may quote the input.
        faults = error.errors(include_url=False, include_input=False)
        raise _refusal(model, faults[0]) from None


def _refusal(model: type[BaseModel], fault: ErrorDetails) -> InvalidRequest:
    path, kind = fault["loc"], fault["type"]
    param = strict_json.show_path(path)
    if kind == "extra_forbidden":
        allowed = sorted(_fields_at(model, path[:-1]))
        details: dict[str, JsonValue] = {"allowed": list(allowed)}
        return InvalidRequest("there is no such field", param=param, code="unknown_field", details=details)
    if kind == "missing":
        return InvalidRequest("this field is needed", param=param, code="missing_field")
    message = fault["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return InvalidRequest(message, param=param, details=_allowed(fault.get("ctx", {})))


def _allowed(context: Mapping[str, Any]) -> dict[str, JsonValue]:
    if "expected" in context:
        return {"allowed": str(context["expected"])}
    limits = {_LIMITS[name]: value for name, value in context.items() if name in _LIMITS}
    return {"allowed": limits} if limits else {}


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The fields known at `path`, found by following annotations that are models."""
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field is not None else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
