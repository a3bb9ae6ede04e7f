"""The gateway's part of a job's trace: a span of the call that makes it, and one of its admission."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from protocol.errors import RheostatError
from protocol.logs import about
from protocol.tracing import TraceContext, TracingSettings, open_tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

MAKING = ("POST", "PUT")
"""Methods that make jobs. Looking at one again and again would fill the store of traces with nothing."""


class Note:
    """What is said about a span; says nothing where there is none."""

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """The span's place in its trace, for those who go on elsewhere."""
        if self._span is None:
            return None
        context = self._span.get_span_context()
        return str(
            TraceContext(f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled)
        )

    def tell(self, **values: str | float) -> None:
        """Set attributes of Rheostat's own."""
        for name, value in values.items():
            self.set(f"rheostat.{name}", value)

    def set(self, name: str, value: str | float) -> None:
        if self._span is not None:
            self._span.set_attribute(name, value)

    def answered(self, method: str, route: str, code: int) -> None:
        """Name the span of a call by its route, as OpenTelemetry's conventions for HTTP have it."""
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode

        self._span.update_name(f"{method} {route}")
        self.set("http.request.method", method)
        self.set("http.route", route)
        self.set("http.response.status_code", code)
        if code >= 500:
            self._span.set_status(StatusCode.ERROR)


class GatewayTracing:
    """Opens spans, or does nothing at next to no cost.

    Raises:
        NoTracing: see `open_tracing`.
    """

    def __init__(self, settings: TracingSettings) -> None:
        instance = f"{socket.gethostname()[:40]}-{secrets.token_hex(3)}"
        self._provider = open_tracing(settings, "rheostat-gateway", instance)
        self._tracer = None if self._provider is None else self._provider.get_tracer("rheostat")

    @contextmanager
    def call(self, method: str, headers: Headers, request_id: str) -> Iterator[Note]:
        """A span around a call, under the caller's `traceparent`. Log lines meanwhile name its trace."""
        if self._tracer is None or method not in MAKING:
            yield Note()
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(headers)
        with (
            self._tracer.start_as_current_span(method, parent, SpanKind.SERVER) as span,
            about(trace_id=f"{span.get_span_context().trace_id:032x}"),
        ):
            note = Note(span)
            note.tell(request_id=request_id)
            yield note

    @contextmanager
    def admission(self) -> Iterator[Note]:
        """A span around what decides on a job; a refusal is told by its code."""
        if self._tracer is None:
            yield Note()
            return
        with self._tracer.start_as_current_span(
            "admission", record_exception=False, set_status_on_exception=False
        ) as span:
            note = Note(span)
            try:
                yield note
            except RheostatError as error:
                note.set("error.type", error.code)
                raise

    def close(self) -> None:
        """Send what is left; waits a few seconds at most."""
        if self._provider is not None:
            self._provider.shutdown()
