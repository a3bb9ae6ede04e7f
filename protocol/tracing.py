"""Traces: one a job, from the call that makes it over the queue to the worker. Off unless an endpoint is set.

A job carries its place in the trace as W3C's `traceparent`. Only `open_tracing` needs OpenTelemetry's SDK and
its OTLP exporter, the extra `trace`. Spans name models, budgets and compute, never a prompt.
"""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
_SAMPLED = 1
_EXPORT_TIMEOUT_S = 5
_EXPORT_EVERY_MS = 1_000
MAX_EVENTS = 4_096
"""Of a span: a job of 16 samples at 256 steps."""


class NoTracing(RuntimeError):
    """Tracing is asked for and OpenTelemetry is not installed."""


class TracingSettings(BaseModel):
    """Where spans go.

    Attributes:
        endpoint: an OTLP/HTTP receiver, `http://collector:4318` (`/v1/traces` is added where no path is
            given); None: nothing is traced. Headers it needs come from `OTEL_EXPORTER_OTLP_HEADERS`.
        sample_ratio: of traces that begin here; a caller's `traceparent` says itself whether it is sampled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s?#@]+(/\S*)?$")] | None = None
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0

    @field_validator("endpoint")
    @classmethod
    def _with_a_path(cls, endpoint: str | None) -> str | None:
        bare = endpoint is not None and endpoint.rstrip("/").count("/") == 2
        return f"{endpoint.rstrip('/')}/v1/traces" if endpoint is not None and bare else endpoint


class TraceContext(NamedTuple):
    """A place in a trace. Ids are hexadecimal, as in `traceparent`."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    @classmethod
    def parse(cls, traceparent: str | None) -> Self | None:
        """Inverse of `str`; None for what is no traceparent of W3C's."""
        found = _TRACEPARENT.fullmatch(traceparent or "")
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return None
        return cls(found[1], found[2], bool(int(found[3], 16) & _SAMPLED))


def not_installed(error: ImportError) -> NoTracing:
    """What to raise where an import of OpenTelemetry's failed."""
    return NoTracing(f"tracing needs rheostat[trace]: {error}")


def exemplar(traceparent: str | None) -> str | None:
    """The trace id a metric may be told with an observation, so that a dashboard leads to the job's trace."""
    context = TraceContext.parse(traceparent)
    return context.trace_id if context is not None and context.sampled else None


def trace_ids(traceparent: str | None) -> dict[str, str]:
    """What log lines carry of a job's trace."""
    context = TraceContext.parse(traceparent)
    return {} if context is None else {"trace_id": context.trace_id}


def derived_id(name: str, num_bytes: int) -> int:
    """An id for a span (8 bytes) or a trace (16) that all who know `name` agree on; never 0."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:num_bytes]) or 1


def open_tracing(
    settings: TracingSettings, service: str, instance: str, ids: IdGenerator | None = None
) -> TracerProvider | None:
    """What makes spans and sends them in the background; None if nothing is traced.

    A receiver that is away costs spans and log lines, never a wait.

    Args:
        service, instance: what the spans are of.
        ids: where ids come from; None: they are drawn.

    Raises:
        NoTracing: the extra `trace` is not installed.
    """
    if settings.endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise not_installed(error) from error
    told = {"service.name": service, "service.instance.id": instance, "service.version": _version()}
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        resource=Resource.create(told),
        id_generator=ids,
        span_limits=SpanLimits(max_events=MAX_EVENTS),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(settings.endpoint, timeout=_EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_EXPORT_EVERY_MS))
    return provider


def _version() -> str:
    try:
        return version("rheostat")
    except PackageNotFoundError:
        return "0"
