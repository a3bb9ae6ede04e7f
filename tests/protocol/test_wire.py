"""One golden file a message: what older and newer versions of us must agree on.

`RHEOSTAT_WRITE_GOLDEN=1` writes files that are missing; an existing one is changed by hand, with thought.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from protocol import wire
from protocol.budget import ComputeBudget
from protocol.calibration import CalibrationPoint
from protocol.catalog import CatalogEntry
from protocol.errors import BodyTooLarge, ErrorInfo
from protocol.events import (
    Artifact,
    Cancelled,
    Cancelling,
    Completed,
    Degraded,
    Event,
    Failed,
    Preview,
    Queued,
    Requeued,
    Started,
    Step,
    decode_event,
    encode_event,
)
from protocol.jobs import GenerationInput, GenerationRequest
from protocol.receipts import Action, PlanSummary, Receipt, SampleReceipt, StepLine, Totals
from protocol.records import JobKey, JobResult, NewJob, StreamedEvent, WorkerPresence
from protocol.states import JobStatus, WorkerState
from tests.protocol.entries import flux_entry, text_entry, wan_entry

GOLDEN = Path(__file__).parent / "golden"

TOTALS = Totals(
    budget=0.5,
    granted=0.5,
    spent=0.5,
    full_tflops=2.0,
    tflops=1.0,
    other_tflops=0.125,
    lost_tflops=0.25,
    nfe=14,
    wall_s=1.5,
)
ARTIFACT = Artifact(
    path=f"anna/a/1/0-{'ab' * 32}.png", media_type="image/png", bytes=5120, sha256="ab" * 32, seed=7
)
ERROR = ErrorInfo(code="sample_failed", message="the sample failed", param=None)
LINE = StepLine(
    index=0, action=Action.FULL, blocks_run=8, blocks_total=8, tflops=0.07, seconds=0.01, risk=0.1
)
RECEIPT = Receipt(
    **TOTALS.model_dump(),
    samples=(
        SampleReceipt(
            seed=7,
            granted=1.0,
            spent=1.0,
            nfe=14,
            plan=PlanSummary(
                methods=("steps",),
                num_inference_steps=3,
                solver="euler",
                calibration="c1",
                parameters={"order": 1.0},
                nodes=(0, 2, 9),
                expected_distance=0.25,
            ),
            steps=(LINE,),
        ),
    ),
)
REQUEST = GenerationRequest(
    model="flux-tiny",
    input=GenerationInput(
        prompt="zwei rote Äpfel 🍎",
        width=64,
        height=64,
        num_inference_steps=28,
        seed=7,
        n=2,
        guidance_scale=3.5,
    ),
    compute_budget=ComputeBudget(fraction=0.5, floor=0.25, mode="hard", methods=("steps",)),
    deadline_s=20.0,
    priority=1,
    metadata={"album": "fruit"},
)
EVENTS: dict[str, Event] = {
    "queued": Queued(position=3, eta_s=1.5),
    "started": Started(attempt=1),
    "step": Step(
        sample=0,
        attempt=1,
        index=3,
        action=Action.FULL,
        blocks_run=8,
        tflops=0.07,
        spent=0.28,
        risk=0.1,
        threshold=0.2,
    ),
    "preview": Preview(sample=0, attempt=1, step=3, b64_png="aGk="),
    "requeued": Requeued(attempt=1, reason="lease_expired"),
    "degraded": Degraded(from_=0.5, to=0.4),
    "cancelling": Cancelling(),
    "completed": Completed(artifacts=(ARTIFACT,), compute=TOTALS),
    "failed": Failed(error=ERROR),
    "cancelled": Cancelled(),
}
POINT = CalibrationPoint(
    method="teacache",
    steps=28,
    budget=0.5,
    spent=0.4375,
    distance=0.125,
    tail=0.25,
    parameters={"threshold": 0.375},
    mode="soft",
    dial="threshold",
)
MESSAGES: dict[str, BaseModel] = {
    "request": REQUEST,
    "result": JobResult(artifacts=(ARTIFACT,), totals=TOTALS, receipt_path="anna/a/1/receipt-cd.json"),
    "receipt": RECEIPT,
    "totals": TOTALS,
    "catalog_flux": flux_entry(calibration="c1", points=(POINT,)),
    "catalog_wan": wan_entry(),
    "catalog_text": text_entry(),
    "presence": WorkerPresence(worker="w1", state=WorkerState.READY, models=("flux-tiny",)),
}


def golden(name: str, raw: bytes) -> bytes:
    """The golden file's bytes, one line, without the newline at its end."""
    path = GOLDEN / f"{name}.json"
    if os.environ.get("RHEOSTAT_WRITE_GOLDEN") and not path.exists():
        path.write_bytes(raw + b"\n")
    return path.read_bytes().removesuffix(b"\n")


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_what_it_was(name: str) -> None:
    raw = encode_event(EVENTS[name])
    assert raw == golden(f"event_{name}", raw)
    assert decode_event(raw) == EVENTS[name]
    streamed = StreamedEvent(12, EVENTS[name])
    assert wire.encode_message(streamed) == b"12 " + raw
    assert wire.decode_message(b"12 " + raw) == streamed
    assert wire.decode_entry(b"12-0", {b"e": raw}) == streamed


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_what_it_was(name: str) -> None:
    message = MESSAGES[name]
    encode = {"request": wire.encode_request, "result": wire.encode_result}.get(name)
    raw = encode(message) if encode else message.model_dump_json().encode()  # type: ignore[operator]
    assert raw == golden(name, raw)
    assert type(message).model_validate_json(raw) == message


def test_a_catalog_entry_may_lack_what_came_later() -> None:
    """Fields with defaults may be missing: an older worker wrote it."""
    fields = json.loads(flux_entry().model_dump_json())
    for later in ("max_steps", "calibration", "points", "created"):
        del fields[later]
    assert CatalogEntry.model_validate_json(json.dumps(fields)).name == flux_entry().name


def test_a_request_survives_the_wire_whole() -> None:
    assert wire.decode_request(wire.encode_request(REQUEST)) == REQUEST
    bare = GenerationRequest(model="m", input=GenerationInput(prompt="p"))
    assert wire.decode_request(wire.encode_request(bare)) == bare


def test_a_large_request_is_refused() -> None:
    request = GenerationRequest(
        model="m", input=GenerationInput(prompt="p", image="x" * wire.MAX_REQUEST_BYTES)
    )
    with pytest.raises(BodyTooLarge):
        wire.encode_request(request)


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"nonsense", b'{"model":"m","input":{"prompt":"p"},"new":1}']
)
def test_what_is_no_request_is_not_taken_for_one(raw: bytes) -> None:
    with pytest.raises(ValidationError):
        wire.decode_request(raw)


def new_job(**changes: Any) -> NewJob:
    fields: dict[str, Any] = {
        "model": "flux-tiny",
        "digest": "d",
        "full_mflop": 4,
        "granted_mflop": 2,
        "units": 3,
    }
    fields |= {"mem_bytes": 5, "plan_steps": 28, "floor_mflop": 1, "fingerprint": "f"}
    return NewJob(key=JobKey("anna", "a"), request=REQUEST, **(fields | changes))


def test_a_submission_is_what_the_script_expects() -> None:
    job = new_job(due_ms=99, idempotency=("/v1/generations", "e" * 64))
    fixed = ["anna", "a", "flux-tiny", "*|1", -1, 99, 3, 5, "f", "nonce", f"anna:/v1/generations:{'e' * 64}"]
    rest = ["req", wire.encode_request(REQUEST), "digest", "d", "num_steps", 28]
    assert wire.encode_submission(job, "nonce") == [*fixed, *rest, "full", 4, "granted", 2, "floor", 1]
    silent = wire.encode_submission(new_job(), "nonce")
    assert (silent[5], silent[10]) == ("", "")
    told = wire.encode_submission(new_job(trace="00-trace", audit=False), "nonce")
    assert told[-4:] == ["trace", "00-trace", "audit", "0"]


def test_a_hash_becomes_a_record() -> None:
    fields = {
        b"state": b"completed",
        b"req": wire.encode_request(REQUEST),
        b"model": b"flux-tiny",
        b"digest": b"d",
        b"fp": b"f",
        b"full": b"4",
        b"granted": b"2",
        b"units": b"3",
        b"flow": b"*|1",
        b"due": b"99",
        b"created": b"10",
        b"started": b"20",
        b"ended": b"30",
        b"attempt": b"2",
        b"num_steps": b"28",
        b"step": b"28",
        b"seq": b"31",
        b"worker": b"w1",
        b"cancel": b"1",
        b"result": wire.encode_result(JobResult(artifacts=(ARTIFACT,), totals=TOTALS, receipt_path="r")),
    }
    record = wire.decode_record(JobKey("anna", "a"), fields)
    assert record.status is JobStatus.COMPLETED
    assert (record.created_ms, record.started_ms, record.completed_ms, record.due_ms) == (10, 20, 30, 99)
    assert (record.attempts, record.step, record.num_steps, record.seq) == (2, 28, 28, 31)
    assert (record.artifacts, record.totals, record.receipt_path) == ((ARTIFACT,), TOTALS, "r")
    assert (record.cancel_requested, record.worker, record.error) == (True, "w1", None)


def test_a_claimed_row_becomes_a_job() -> None:
    row = [b"anna/a", wire.encode_request(REQUEST), b"2", b"d", b"4", b"2", b"99", b"10", b"1", b"\xff", b""]
    row += [b"00-trace", b"0", b"older"]
    job = wire.decode_claimed(row, "token")
    assert (job.key, job.request, job.token, job.attempt) == (JobKey("anna", "a"), REQUEST, "token", 2)
    assert (job.solo, job.checkpoint, job.cancel) == (True, b"\xff", False)
    assert (job.trace, job.audit, job.before) == ("00-trace", False, "older")
    plain = wire.decode_claimed([*row[:-3], b"", b"", b""], "token")
    assert (plain.trace, plain.audit, plain.before) == (None, True, None)


def test_a_job_of_four_images_keeps_to_two_kilobytes() -> None:
    """Lists, events and Redis carry totals only."""
    result = JobResult(artifacts=(ARTIFACT,) * 4, totals=TOTALS, receipt_path=ARTIFACT.path)
    assert len(wire.encode_result(result)) <= 2048


def test_each_end_has_its_event() -> None:
    done = JobResult(artifacts=(ARTIFACT,), totals=TOTALS)
    assert wire.final_event(JobStatus.COMPLETED, done) == Completed(artifacts=(ARTIFACT,), compute=TOTALS)
    assert wire.final_event(JobStatus.FAILED, JobResult(error=ERROR)) == Failed(error=ERROR)
    assert wire.final_event(JobStatus.CANCELLED, JobResult()) == Cancelled()
    for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.QUEUED):
        with pytest.raises(ValueError, match="does not go with"):
            wire.final_event(status, JobResult())


def test_job_keys_have_a_name() -> None:
    assert str(JobKey("anna", "a-1")) == "anna/a-1"
    assert JobKey.parse("anna/a-1") == JobKey("anna", "a-1")
