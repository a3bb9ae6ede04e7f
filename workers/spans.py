"""The supervisor's side of a trace: what the engine told, as OpenTelemetry's spans.

    <the call that made the job> / admission
        queued
        attempt            links to the attempt before
            encode
            denoise        an event a step
            decode         one a sample
            store

An attempt's span has the id that its lease gives it, so the next attempt, on whatever worker, can link to it.
A job that came without a trace gets one by its name, the same for all its attempts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from protocol.logs import of_job
from protocol.tracing import TraceContext, TracingSettings, derived_id, open_tracing
from workers.told import Began, Over, Staged, Stepped, Told

_SPAN_BYTES, _TRACE_BYTES = 8, 16
_GOOD = ("completed", "cancelled", "handed back")


class _ChosenIds(RandomIdGenerator):
    """Draws ids, but for the next span or trace whose id was chosen."""

    span: int | None = None
    trace: int | None = None

    def generate_span_id(self) -> int:
        chosen, self.span = self.span, None
        return super().generate_span_id() if chosen is None else chosen

    def generate_trace_id(self) -> int:
        chosen, self.trace = self.trace, None
        return super().generate_trace_id() if chosen is None else chosen


@dataclass(slots=True)
class _Attempt:
    """An attempt under way. `denoise_s` is when its next span of steps begins."""

    span: Span
    inside: Context
    denoise_s: float
    denoise: Span | None = None
    last_step_s: float = 0.0


class Spans:
    """Makes spans of what it hears; not thread-safe."""

    def __init__(self, settings: TracingSettings, worker: str) -> None:
        """Args:
        settings: with an endpoint.

        Raises:
            NoTracing: see `open_tracing`.
        """
        self._ids = _ChosenIds()
        provider = open_tracing(settings, "rheostat-worker", worker, self._ids)
        assert provider is not None, "tracing has an endpoint"
        self._provider = provider
        self._tracer = provider.get_tracer("rheostat")
        self._attempts: dict[str, _Attempt] = {}

    def hear(self, told: Iterable[Told]) -> None:
        """Take in what the engine told, in its order."""
        for one in told:
            if isinstance(one, Began):
                self._begin(one)
            elif (attempt := self._attempts.get(one.lease)) is None:
                continue
            elif isinstance(one, Staged):
                self._stage(attempt, one)
            elif isinstance(one, Stepped):
                self._step(attempt, one)
            else:
                self._end(one, attempt)

    def engine_died(self, at_s: float) -> None:
        """End the spans of what the dead engine did not end."""
        for attempt in self._attempts.values():
            _close_denoise(attempt)
            attempt.span.set_status(StatusCode.ERROR, "the engine process ended")
            attempt.span.set_attribute("rheostat.outcome", "crashed")
            attempt.span.end(_ns(at_s))
        self._attempts.clear()

    def close(self) -> None:
        """Send what is left; waits a few seconds at most."""
        self._provider.shutdown()

    def _begin(self, told: Began) -> None:
        trace_id, parent = _trace_of(told)
        links = [Link(_context(trace_id, derived_id(told.before, _SPAN_BYTES)))] if told.before else []
        self._ids.span, self._ids.trace = derived_id(told.lease, _SPAN_BYTES), trace_id
        span = self._tracer.start_span(
            "attempt",
            parent,
            SpanKind.CONSUMER,
            attributes=_attributes(told),
            links=links,
            start_time=_ns(told.claimed_s),
        )
        self._ids.span = self._ids.trace = None
        inside = set_span_in_context(span, Context())
        self._attempts[told.lease] = _Attempt(span, inside, told.claimed_s)
        if told.before is None:
            queued = self._tracer.start_span("queued", parent or inside, start_time=_ns(told.created_s))
            queued.end(_ns(told.claimed_s))

    def _stage(self, attempt: _Attempt, told: Staged) -> None:
        named = {} if told.sample is None else {"rheostat.sample": told.sample}
        span = self._tracer.start_span(
            told.stage, attempt.inside, attributes=named, start_time=_ns(told.began_s)
        )
        span.end(_ns(told.ended_s))
        if told.stage == "encode":
            attempt.denoise_s = told.ended_s

    def _step(self, attempt: _Attempt, told: Stepped) -> None:
        if attempt.denoise is None:
            attempt.denoise = self._tracer.start_span(
                "denoise", attempt.inside, start_time=_ns(attempt.denoise_s)
            )
        event = told.model_dump(exclude={"type", "lease", "ended_s"}, exclude_none=True)
        attempt.denoise.add_event("step", event, _ns(told.ended_s))
        attempt.last_step_s = told.ended_s

    def _end(self, told: Over, attempt: _Attempt) -> None:
        del self._attempts[told.lease]
        _close_denoise(attempt)
        attempt.span.set_attributes({"rheostat.outcome": told.outcome, "rheostat.spent_tflops": told.tflops})
        if told.code is not None:
            attempt.span.set_attribute("error.type", told.code)
        if told.outcome not in _GOOD:
            attempt.span.set_status(StatusCode.ERROR, told.outcome)
        attempt.span.end(_ns(told.ended_s))


def _attributes(told: Began) -> dict[str, str | int | float]:
    ids = {f"rheostat.{name}": value for name, value in of_job(told.lease).items()}
    return {
        **ids,
        "rheostat.model": told.model,
        "rheostat.attempt": told.attempt,
        "rheostat.budget": told.budget,
        "rheostat.granted": told.granted,
    }


def _close_denoise(attempt: _Attempt) -> None:
    if attempt.denoise is not None:
        attempt.denoise.end(_ns(attempt.last_step_s))


def _trace_of(told: Began) -> tuple[int, Context | None]:
    """The id of the job's trace, and where its admission was; None if that was not traced."""
    context = TraceContext.parse(told.traceparent)
    if context is None:
        return derived_id(f"{told.lease.partition('#')[0]}|{told.created_s}", _TRACE_BYTES), None
    trace_id = int(context.trace_id, 16)
    admission = NonRecordingSpan(_context(trace_id, int(context.span_id, 16)))
    return trace_id, set_span_in_context(admission, Context())


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
