"""What the engine tells becomes spans; times and ids are worked out by hand."""

from __future__ import annotations

import hashlib

import pytest

from protocol.tracing import TracingSettings
from tests.plugins.otlp import Receiver
from workers.spans import Spans
from workers.told import Began, Over, Staged, Stepped

TRACE, ADMISSION = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
LEASE = "anna/a#first"


@pytest.fixture
def spans(otlp: Receiver) -> Spans:
    return Spans(TracingSettings(endpoint=otlp.url), "worker-1")


def began(lease: str = LEASE, **changes: object) -> Began:
    fields: dict[str, object] = {
        "traceparent": f"00-{TRACE}-{ADMISSION}-01",
        "before": None,
        "attempt": 1,
        "model": "flux-tiny",
        "budget": 0.5,
        "granted": 0.5,
        "created_s": 1000.0,
        "claimed_s": 1002.0,
    }
    return Began.model_validate({"lease": lease, **fields, **changes})


def step(index: int, ended_s: float, lease: str = LEASE) -> Stepped:
    told = {"sample": 0, "index": index, "action": "full", "blocks_run": 8, "tflops": 0.25, "seconds": 0.5}
    return Stepped.model_validate({"lease": lease, "ended_s": ended_s, **told})


def id_of(lease: str) -> str:
    return hashlib.sha256(lease.encode()).hexdigest()[:16]


def test_one_attempt(spans: Spans, otlp: Receiver) -> None:
    spans.hear(
        [
            began(),
            Staged(lease=LEASE, stage="encode", began_s=1002.5, ended_s=1003.0),
            step(0, 1004.0),
            step(1, 1005.5),
            Staged(lease=LEASE, stage="decode", began_s=1005.5, ended_s=1006.0, sample=0),
            Staged(lease=LEASE, stage="store", began_s=1006.0, ended_s=1007.0),
            Over(lease=LEASE, outcome="completed", ended_s=1008.0, tflops=0.5),
        ]
    )
    spans.close()
    assert otlp.paths == {"/v1/traces"}
    (attempt,) = otlp.named("attempt")
    assert (attempt.service, attempt.span_id, attempt.parent_id) == (
        "rheostat-worker",
        id_of(LEASE),
        ADMISSION,
    )
    assert (attempt.began_s, attempt.ended_s, attempt.links, attempt.failed) == (1002.0, 1008.0, [], False)
    assert attempt.attributes == {
        "rheostat.tenant": "anna",
        "rheostat.job_id": "a",
        "rheostat.model": "flux-tiny",
        "rheostat.attempt": 1,
        "rheostat.budget": 0.5,
        "rheostat.granted": 0.5,
        "rheostat.outcome": "completed",
        "rheostat.spent_tflops": 0.5,
    }
    (queued,) = otlp.named("queued")
    assert (queued.parent_id, queued.began_s, queued.ended_s) == (ADMISSION, 1000.0, 1002.0)
    times = {"encode": (1002.5, 1003.0), "denoise": (1003.0, 1005.5), "decode": (1005.5, 1006.0),
             "store": (1006.0, 1007.0)}  # fmt: skip
    for name, (start, end) in times.items():
        (span,) = otlp.named(name)
        assert (span.parent_id, span.began_s, span.ended_s) == (attempt.span_id, start, end), name
    (denoise,) = otlp.named("denoise")
    assert [at for at, _ in denoise.events] == [1004.0, 1005.5]
    assert denoise.events[1][1] == {
        "sample": 0, "index": 1, "action": "full", "blocks_run": 8, "tflops": 0.25, "seconds": 0.5,
    }  # fmt: skip
    assert {span.trace_id for span in otlp.spans} == {TRACE}


def test_attempts_are_linked_also_where_an_engine_died(spans: Spans, otlp: Receiver) -> None:
    """The dead engine's span ends with it, failed; the next attempt links to it and tells of no queue."""
    spans.hear([began(), step(0, 1004.0)])
    spans.engine_died(1004.5)
    second = "anna/a#second"
    spans.hear([began(second, before=LEASE, attempt=2, claimed_s=1006.0), step(5, 1007.0, second)])
    spans.hear([Over(lease=second, outcome="failed", ended_s=1008.0, tflops=0.25, code="out_of_memory")])
    spans.close()
    first, again = otlp.named("attempt")
    assert (first.failed, first.ended_s) == (True, 1004.5)
    assert first.attributes["rheostat.outcome"] == "crashed"
    assert (again.links, again.failed) == ([first.span_id], True)
    assert again.attributes["error.type"] == "out_of_memory"
    assert len(otlp.named("queued")) == 1
    assert [span.ended_s for span in otlp.named("denoise")] == [1004.0, 1007.0]


def test_a_job_without_a_trace_gets_one_of_its_own(spans: Spans, otlp: Receiver) -> None:
    spans.hear(
        [began(traceparent=None), Over(lease=LEASE, outcome="handed back", ended_s=1003.0, tflops=0.0)]
    )
    later = "anna/a#later"
    spans.hear([began(later, traceparent=None, before=LEASE)])
    spans.hear([Over(lease=later, outcome="cancelled", ended_s=1004.0, tflops=0.0)])
    spans.close()
    first, second = sorted(otlp.named("attempt"), key=lambda span: span.ended_s)
    assert (first.parent_id, second.parent_id) == ("", "")
    assert (first.trace_id == second.trace_id, second.links) == (True, [first.span_id])
    assert not first.failed
    assert not second.failed


def test_what_is_told_of_unknown_leases_is_dropped(spans: Spans, otlp: Receiver) -> None:
    spans.hear([step(0, 1.0), Over(lease=LEASE, outcome="completed", ended_s=2.0, tflops=0.0)])
    spans.close()
    assert otlp.spans == []


def test_of_traces_that_begin_here_a_share_is_told(otlp: Receiver) -> None:
    spans = Spans(TracingSettings(endpoint=otlp.url, sample_ratio=0.0), "worker-1")
    spans.hear([began(traceparent=None), Over(lease=LEASE, outcome="completed", ended_s=1.0, tflops=0.0)])
    spans.close()
    assert otlp.spans == []
