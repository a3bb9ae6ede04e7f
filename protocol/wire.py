"""What stands in Redis and on its channels, byte by byte.

The job's hash, written by `submit` and changed only by the scripts (numbers in decimal, empty = absent):

    from submit      state model digest flow rank due units mem fp nonce req full granted floor num_steps
                     created idem trace audit
    while it lives   attempt crashes solo_crashes passed token before worker solo cancel released_by ckpt
                     step pub started seq
    at its end       ended ended_by spent result

`req` is the resolved request as JSON and opaque to the scripts; `result` a JobResult as JSON. A stream entry
has one field, `e`: the event as JSON. A channel carries `<seq> <event as JSON>`, seq 0 for what is not
logged. The latest previews stand in a hash of their own, by sample: the event as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocol import keys
from protocol.errors import AttemptsExhausted, BodyTooLarge, ErrorInfo
from protocol.events import Cancelled, Completed, Event, Failed, decode_event, encode_event
from protocol.jobs import GenerationRequest
from protocol.records import ClaimedJob, JobKey, JobRecord, JobResult, NewJob, StreamedEvent
from protocol.states import JobStatus

MAX_REQUEST_BYTES = 65_536
"""A resolved request may not be larger: it sits in Redis for as long as the job can be looked up."""

Fields = Mapping[bytes, bytes]


def encode_request(request: GenerationRequest) -> bytes:
    """The request as JSON, fields left out kept out.

    Raises:
        BodyTooLarge: above MAX_REQUEST_BYTES.
    """
    raw = request.model_dump_json(exclude_none=True).encode()
    if len(raw) > MAX_REQUEST_BYTES:
        raise BodyTooLarge(f"the request takes {len(raw)} bytes; at most {MAX_REQUEST_BYTES} are kept")
    return raw


def decode_request(raw: bytes) -> GenerationRequest:
    """Inverse of `encode_request`; raises pydantic's ValidationError on anything else."""
    return GenerationRequest.model_validate_json(raw)


def encode_submission(job: NewJob, nonce: str) -> list[str | bytes | int]:
    """The arguments of `submit`. `nonce` tells a repeated call from another caller's."""
    priority = job.request.priority
    idempotency = ":".join((job.key.tenant, *job.idempotency)) if job.idempotency else ""
    due = "" if job.due_ms is None else job.due_ms
    return [
        *(job.key.tenant, job.key.id, job.model, keys.flow(priority), -priority),
        *(due, job.units, job.mem_bytes, job.fingerprint, nonce, idempotency),
        *("req", encode_request(job.request), "digest", job.digest, "num_steps", job.plan_steps),
        *("full", job.full_mflop, "granted", job.granted_mflop, "floor", job.floor_mflop),
        *(("trace", job.trace) if job.trace else ()),
        *(() if job.audit else ("audit", "0")),
    ]


def decode_record(key: JobKey, fields: Fields) -> JobRecord:
    """The job from its whole hash."""
    result = JobResult.model_validate_json(fields.get(b"result") or b"{}")
    return JobRecord(
        key=key,
        status=JobStatus(_text(fields, b"state")),
        request=decode_request(fields[b"req"]),
        model=_text(fields, b"model"),
        digest=_text(fields, b"digest"),
        fingerprint=_text(fields, b"fp"),
        full_mflop=int(fields[b"full"]),
        granted_mflop=int(fields[b"granted"]),
        units=int(fields[b"units"]),
        flow=_text(fields, b"flow"),
        due_ms=int(fields[b"due"]),
        created_ms=int(fields[b"created"]),
        started_ms=_optional(fields, b"started"),
        completed_ms=_optional(fields, b"ended"),
        attempts=int(fields[b"attempt"]),
        cancel_requested=fields.get(b"cancel") == b"1",
        step=_optional(fields, b"step") or 0,
        num_steps=int(fields[b"num_steps"]),
        seq=_optional(fields, b"seq") or 0,
        worker=_text(fields, b"worker") or None,
        artifacts=result.artifacts,
        totals=result.totals,
        error=result.error,
        receipt_path=result.receipt_path,
    )


def decode_claimed(row: Sequence[bytes], token: str) -> ClaimedJob:
    """One row of `claim`'s answer.

    Raises:
        pydantic.ValidationError: the request cannot be read (written by another version).
    """
    name, request, attempt, digest, full, granted, due, created, solo, checkpoint, cancel, *rest = row
    trace, audit, before = rest
    return ClaimedJob(
        key=JobKey.parse(name.decode()),
        request=decode_request(request),
        token=token,
        attempt=int(attempt),
        digest=digest.decode(),
        full_mflop=int(full),
        granted_mflop=int(granted),
        due_ms=int(due),
        created_ms=int(created),
        solo=solo == b"1",
        checkpoint=checkpoint or None,
        cancel=cancel == b"1",
        trace=trace.decode() or None,
        audit=audit != b"0",
        before=before.decode() or None,
    )


def encode_result(result: JobResult) -> bytes:
    return result.model_dump_json(exclude_none=True, exclude_defaults=True).encode()


def final_event(status: JobStatus, result: JobResult) -> Event:
    """The event that ends a job's stream.

    Raises:
        ValueError: the status does not end a job, or the result lacks what its event tells.
    """
    if status is JobStatus.COMPLETED and result.totals is not None:
        return Completed(artifacts=result.artifacts, compute=result.totals)
    if status is JobStatus.FAILED and result.error is not None:
        return Failed(error=result.error)
    if status is JobStatus.CANCELLED:
        return Cancelled()
    raise ValueError(f"{status} does not go with this result: completed needs totals, failed an error")


def exhausted(max_solo_crashes: int) -> JobResult:
    """What a job that crashed its worker again and again ends with."""
    message = f"the job crashed its worker {max_solo_crashes} times while running alone"
    return JobResult(error=ErrorInfo(code=AttemptsExhausted.default_code, message=message))


def decode_message(data: bytes) -> StreamedEvent:
    """A channel's message."""
    seq, _, body = data.partition(b" ")
    return StreamedEvent(int(seq), decode_event(body))


def decode_entry(entry_id: bytes, fields: Fields) -> StreamedEvent:
    """A stream's entry."""
    return StreamedEvent(int(entry_id.partition(b"-")[0]), decode_event(fields[b"e"]))


def decode_preview(body: bytes) -> StreamedEvent:
    """A preview that was kept; it has no number."""
    return StreamedEvent(0, decode_event(body))


def encode_message(streamed: StreamedEvent) -> bytes:
    """What the scripts publish; the inverse of `decode_message`."""
    return b"%d %s" % (streamed.seq, encode_event(streamed.event))


def _text(fields: Fields, name: bytes) -> str:
    return fields.get(name, b"").decode()


def _optional(fields: Fields, name: bytes) -> int | None:
    raw = fields.get(name)
    return int(raw) if raw else None
