"""What every answer passes: a request id, a count, and a last net under our own mistakes."""

from __future__ import annotations

import logging
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import internal_error
from server.metrics import GatewayMetrics

REQUEST_ID = "X-Request-ID"
CLIENT_LEFT = 499
"""What is counted where a caller was gone before the answer began."""
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

log = logging.getLogger(__name__)


class Envelope:
    """A callable around the application."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        codes: list[int] = []

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                codes.append(message["status"])
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception:
            log.exception("request %s failed", request_id)
            if not codes:
                await internal_error()(scope, receive, send_named)
        finally:
            self._metrics.answered(_route(scope), codes[0] if codes else CLIENT_LEFT)


def _request_id(headers: Headers) -> str:
    """The caller's id if it is one we can print, else one of ours."""
    sent = headers.get(REQUEST_ID, "")
    return sent if _ACCEPTABLE.fullmatch(sent) else f"req_{secrets.token_hex(12)}"


def _route(scope: Scope) -> str:
    """The route's template, so that no id gets into a label."""
    return getattr(scope.get("route"), "path", "unmatched")
