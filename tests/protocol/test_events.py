from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from protocol import events
from protocol.errors import ErrorInfo
from protocol.receipts import Action, Totals

TOTALS = Totals(
    budget=0.5, granted=0.5, spent=0.5, full_tflops=4.0, tflops=2.0, other_tflops=0.1, nfe=14, wall_s=1.5
)
ARTIFACT = events.Artifact(path="t/j/1/0-ab.png", media_type="image/png", bytes=3, sha256="ab" * 32, seed=7)
STEP = events.Step(sample=0, attempt=1, index=3, action=Action.FULL, blocks_run=8, tflops=0.1, spent=0.4)
ALL: list[events.Event] = [
    events.Queued(position=0, eta_s=1.5),
    events.Queued(),
    events.Started(attempt=1),
    STEP,
    events.Step(**{**STEP.model_dump(), "action": "forecast", "risk": 0.2, "threshold": 0.3}),
    events.Preview(sample=0, attempt=1, step=3, b64_png="aGk="),
    events.Requeued(attempt=2, reason="crash"),
    events.Degraded(from_=1.0, to=0.5),
    events.Cancelling(),
    events.Completed(artifacts=(ARTIFACT,), compute=TOTALS),
    events.Failed(error=ErrorInfo(code="sample_failed", message="no", param=None)),
    events.Cancelled(),
]


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.type)
def test_round_trip(event: events.Event) -> None:
    raw = events.encode_event(event)

    assert events.decode_event(raw) == event
    assert json.loads(raw)["type"] == event.type
    assert b"null" not in raw


def test_every_type_is_covered_and_its_own() -> None:
    assert {event.type for event in ALL} == {
        "queued", "started", "step", "preview", "requeued", "degraded", "cancelling", "completed", "failed",
        "cancelled",
    }  # fmt: skip
    assert {"completed", "failed", "cancelled"} == events.TERMINAL_TYPES


def test_the_wire_says_from() -> None:
    raw = events.encode_event(events.Degraded(from_=1.0, to=0.5))

    assert json.loads(raw) == {"type": "degraded", "from": 1.0, "to": 0.5}


def test_the_contract_s_step_fields() -> None:
    event = events.Step(**{**STEP.model_dump(), "risk": 0.2, "threshold": 0.3})

    assert set(json.loads(events.encode_event(event))) == {
        "type", "sample", "attempt", "index", "action", "blocks_run", "tflops", "spent", "risk", "threshold",
    }  # fmt: skip


@pytest.mark.parametrize("field", ["tflops", "spent", "risk", "threshold"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(field: str, value: float) -> None:
    """JSON has no NaN: it went out as null, and the reader could not decode its own event."""
    with pytest.raises(ValidationError, match=field):
        events.Step(**{**STEP.model_dump(), field: value})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type": "nonsense"}',
        b'{"type": "started"}',
        b'{"type": "started", "attempt": 1, "extra": 1}',
        b'{"type": "requeued", "attempt": 1, "reason": "whim"}',
        b"\xff\xfe",
    ],
)
def test_anything_else_is_refused(raw: Any) -> None:
    with pytest.raises(ValidationError):
        events.decode_event(raw)
