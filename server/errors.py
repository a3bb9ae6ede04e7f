"""The one place where an error becomes an HTTP answer."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from pydantic import JsonValue
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from protocol.errors import JobFailed, MethodNotAllowed, NotFound, RheostatError, Unavailable

REDIS_RETRY_AFTER_S = 5
NEVER_RETRY = frozenset({409, 504})
"""OpenAI's client sends these again three times unless told not to."""

log = logging.getLogger(__name__)


def error_body(error: RheostatError) -> dict[str, JsonValue]:
    """The contract's envelope."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "type": error.kind,
            "details": error.details,
        }
    }


def error_response(error: RheostatError) -> JSONResponse:
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status in NEVER_RETRY or isinstance(error, JobFailed):
        headers["x-should-retry"] = "false"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(error), status_code=error.status, headers=headers)


def internal_error() -> JSONResponse:
    """What a caller sees of our own mistakes: nothing but that there was one."""
    return error_response(RheostatError("something went wrong here"))


def redis_away() -> Unavailable:
    return Unavailable(
        "the queue cannot be reached", code="redis_unavailable", retry_after_s=REDIS_RETRY_AFTER_S
    )


def install(app: FastAPI) -> None:
    """Replace the framework's own error answers by the contract's."""

    async def known(_: Request, error: Exception) -> Response:
        assert isinstance(error, RheostatError)
        return error_response(error)

    async def framework(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _from_framework(error)

    async def redis(_: Request, error: Exception) -> Response:
        log.warning("redis: %s", error)
        return error_response(redis_away())

    app.add_exception_handler(RheostatError, known)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(RedisError, redis)


def _from_framework(error: HTTPException) -> Response:
    """Starlette raises for unknown paths and methods only; bodies and parameters we read ourselves."""
    if error.status_code != 405:
        return error_response(NotFound("there is nothing at this path"))
    answer = error_response(MethodNotAllowed("this path does not take this method"))
    answer.headers.update(error.headers or {})
    return answer
