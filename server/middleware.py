"""What every answer passes: a request id, a count, and a last net under our own mistakes."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocol.logs import about
from server.errors import internal_error
from server.metrics import GatewayMetrics
from server.tracing import GatewayTracing, Note

REQUEST_ID = "X-Request-ID"
CLIENT_LEFT = 499
"""What is counted where a caller was gone before the answer began."""
PROBES = ("/livez", "/readyz", "/metrics")
"""Asked for every few seconds by machines."""
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

log = logging.getLogger(__name__)


class Envelope:
    """A callable around the application."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics, tracing: GatewayTracing) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        with (
            about(request_id=request_id),
            self._tracing.call(scope["method"], headers, request_id) as note,
        ):
            await self._answer(request_id, note, scope, receive, send)

    async def _answer(self, request_id: str, note: Note, scope: Scope, receive: Receive, send: Send) -> None:
        codes: list[int] = []
        started = time.monotonic()

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                codes.append(message["status"])
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception:
            log.exception("the request failed")
            if not codes:
                await internal_error()(scope, receive, send_named)
        finally:
            code, route = codes[0] if codes else CLIENT_LEFT, _route(scope)
            self._metrics.answered(route, code)
            note.answered(scope["method"], route, code)
            level = logging.DEBUG if route in PROBES else logging.INFO
            seconds = round(time.monotonic() - started, 4)
            log.log(level, "%s %s %d", scope["method"], route, code, extra={"seconds": seconds})


def _request_id(headers: Headers) -> str:
    """The caller's id if it is one we can print, else one of ours."""
    sent = headers.get(REQUEST_ID, "")
    return sent if _ACCEPTABLE.fullmatch(sent) else f"req_{secrets.token_hex(12)}"


def _route(scope: Scope) -> str:
    """The route's template, so that no id gets into a label."""
    return getattr(scope.get("route"), "path", "unmatched")
