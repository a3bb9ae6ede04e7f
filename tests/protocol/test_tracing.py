"""A job's place in a trace, as W3C writes it, and where spans go."""

from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from protocol.tracing import (
    NoTracing,
    TraceContext,
    TracingSettings,
    derived_id,
    exemplar,
    open_tracing,
    trace_ids,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_there_and_back() -> None:
    for flags, sampled in (("01", True), ("00", False)):
        text = f"00-{TRACE}-{SPAN}-{flags}"
        context = TraceContext.parse(text)
        assert context == TraceContext(TRACE, SPAN, sampled)
        assert str(context) == text


def test_later_versions_and_flags_are_read_as_far_as_we_know_them() -> None:
    assert TraceContext.parse(f"01-{TRACE}-{SPAN}-03-more") == TraceContext(TRACE, SPAN, True)


@pytest.mark.parametrize(
    "text",
    [
        None, "", "anything", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f" 00-{TRACE}-{SPAN}-01",
    ],
)  # fmt: skip
def test_what_is_no_place_is_none(text: str | None) -> None:
    assert TraceContext.parse(text) is None
    assert exemplar(text) is None
    assert trace_ids(text) == {}


def test_only_sampled_traces_make_exemplars() -> None:
    assert exemplar(f"00-{TRACE}-{SPAN}-01") == TRACE
    assert exemplar(f"00-{TRACE}-{SPAN}-00") is None


def test_derived_ids_fit_and_differ() -> None:
    assert derived_id("a", 8) == derived_id("a", 8) != derived_id("b", 8)
    assert 0 < derived_id("a", 8) < 2**64 <= derived_id("a", 16) < 2**128


def test_nothing_is_opened_without_an_endpoint() -> None:
    assert open_tracing(TracingSettings(), "service", "one") is None


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(NoTracing, match=r"rheostat\[trace\]"):
        open_tracing(TracingSettings(endpoint="http://collector"), "service", "one")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("https://collector:4318/", "https://collector:4318/v1/traces"),
        ("http://collector/own/path", "http://collector/own/path"),
    ],
)
def test_the_usual_path_is_added_where_there_is_none(given: str, used: str) -> None:
    assert TracingSettings(endpoint=given).endpoint == used
    assert TracingSettings(endpoint=used).endpoint == used


@pytest.mark.parametrize("endpoint", ["collector:4318", "http://user:secret@collector", "grpc://collector"])
def test_other_endpoints_are_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="endpoint"):
        TracingSettings(endpoint=endpoint)
