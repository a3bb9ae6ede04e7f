"""A job's life as server-sent events."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from protocol.errors import InvalidRequest, NotFound, Unavailable
from protocol.events import Queued, encode_event
from protocol.receipts import MFLOP_PER_TFLOP
from protocol.records import JobRecord, StreamedEvent
from protocol.states import JobStatus
from server import sse
from server.admission import outstanding_s
from server.answers import Presenter
from server.gateway import Gateway
from server.openapi import parameters
from server.params import caller_of, gateway_of, known_key, no_such_job

router = APIRouter(tags=["generations"])

log = logging.getLogger(__name__)


@router.get(
    "/v1/generations/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {sse.MEDIA_TYPE: {}}}, 204: {"description": "Nothing came after that id."}},
    openapi_extra=parameters("header", Last_Event_ID="the id of the last event seen"),
)
async def events(request: Request) -> Response:
    """Every event so far and then as they come, each with its number as `id`; ends with the job.

    `Last-Event-ID` goes on after that number; after the final one the answer is 204. Previews have no number:
    while the job runs the latest of each sample comes after what has happened so far, and then as they come.
    """
    gateway, caller = gateway_of(request), caller_of(request)
    after = _last_event_id(request)
    record = await gateway.jobqueue.get(known_key(caller.tenant, request.path_params["job_id"]))
    if record is None:
        raise no_such_job()
    if record.status.ended and after >= record.seq > 0:
        return Response(status_code=204)
    present = await gateway.presenter(request)
    return StreamingResponse(
        _frames(gateway, present, record, after), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS
    )


def _last_event_id(request: Request) -> int:
    sent = request.headers.get("last-event-id", "0") or "0"
    if not (sent.isascii() and sent.isdecimal() and len(sent) <= 15):
        raise InvalidRequest("must be the id of an event of this job", param="Last-Event-ID")
    return int(sent)


async def _frames(
    gateway: Gateway, present: Presenter, record: JobRecord, after: int
) -> AsyncIterator[bytes]:
    """The answer's body. If Redis goes away before the first event it just ends: the client comes again."""
    try:
        if record.status is JobStatus.QUEUED and after == 0:
            yield sse.frame("queued", encode_event(await _queued(gateway, record)))
        stream = cast(AsyncGenerator[StreamedEvent], gateway.hub.stream(record.key, after))
        async with aclosing(stream):
            pauses = sse.with_pauses(stream, gateway.settings.heartbeat_s, gateway.draining)
            async with aclosing(pauses) as items:
                async for item in items:
                    yield _frame(present, record, item)
    except (Unavailable, NotFound) as error:
        log.warning("an event stream ended early: %s", error)


def _frame(present: Presenter, record: JobRecord, item: StreamedEvent | None) -> bytes:
    if item is None:
        return sse.COMMENT
    return sse.frame(item.event.type, present.event(record.key, item.event), item.seq)


async def _queued(gateway: Gateway, record: JobRecord) -> Queued:
    """Where the job stands in line. Made from the job itself; it has no number and is not replayed."""
    entry = await gateway.catalog.get(record.model)
    if entry is None:
        return Queued(position=await gateway.jobqueue.position(record))
    wait_s = outstanding_s(await gateway.jobqueue.load(record.model), entry)
    own_s = record.units / MFLOP_PER_TFLOP / entry.tflops_per_second if entry.tflops_per_second > 0 else 0.0
    eta_s = None if wait_s is None else round(max(wait_s, own_s), 3)
    return Queued(position=await gateway.jobqueue.position(record), eta_s=eta_s)
