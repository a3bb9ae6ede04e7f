"""The schema at `/openapi.json`. Our own strict parser reads the bodies, so their models are named here."""

from __future__ import annotations

import re
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, JsonValue

from protocol.jobs import GenerationRequest
from server.openai_images import ImageRequest
from server.openai_videos import VideoRequest

BODIES: tuple[type[BaseModel], ...] = (GenerationRequest, ImageRequest, VideoRequest)
_REFERENCE = "#/components/schemas/{model}"

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "param", "type", "details"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "type": {"type": "string"},
                "details": {"type": "object"},
            },
        }
    },
}


def body_of(model: type[BaseModel], *others: str) -> dict[str, Any]:
    """`openapi_extra` for a route that reads a `model` itself, from JSON or from `others` (media types)."""
    schema = {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}
    content = dict.fromkeys(("application/json", *others), schema)
    return {"requestBody": {"required": True, "content": content}}


def parameters(place: Literal["query", "header"], **described: str) -> dict[str, Any]:
    """`openapi_extra` for optional text in the query or the headers; a header's `-` is written `_`."""
    rows = [
        _parameter(place, name.replace("_", "-") if place == "header" else name, text, required=False)
        for name, text in described.items()
    ]
    return {"parameters": rows}


def _parameter(place: str, name: str, text: str, *, required: bool) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": text,
        "schema": {"type": "string"},
    }


def install(app: FastAPI) -> None:
    """Make `app.openapi()` complete: our bodies, and one shape for every error."""

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(title=app.title, version=app.version, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in BODIES:
        own = model.model_json_schema(ref_template=_REFERENCE)
        schemas.update(own.pop("$defs", {}))
        schemas[model.__name__] = own
    schemas["Error"] = ERROR_SCHEMA
    schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{}, {"key": []}]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["responses"].setdefault("default", _error())
            named = [_parameter("path", name, "", required=True) for name in re.findall(r"{(\w+)}", path)]
            operation["parameters"] = named + operation.get("parameters", [])
    return schema


def _error() -> dict[str, JsonValue]:
    reference: JsonValue = {"$ref": _REFERENCE.format(model="Error")}
    return {"description": "The contract's error.", "content": {"application/json": {"schema": reference}}}
