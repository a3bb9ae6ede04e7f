"""Images as OpenAI's clients ask for them: one call, the picture in the answer."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from fastapi import APIRouter
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from protocol.errors import Conflict, InvalidRequest, JobFailed, RheostatError, WaitTimedOut
from protocol.events import Cancelled, Completed, Failed
from protocol.records import JobKey, JobRecord
from server import intake
from server.body import read_model
from server.gateway import Gateway
from server.model_choice import choose_model
from server.openai_images import ImageRequest, image_answer, inline, linked, to_native
from server.openapi import body_of, parameters
from server.params import caller_of, gateway_of, idempotency_of, no_such_job, wants_async
from server.routes.generations import ONCE, answer, new_id
from server.waiting import CallerLeft, End, wait_for_end

router = APIRouter(tags=["images"])

CALLER_LEFT = 499
"""Nobody reads it; it stands in the metrics."""


@router.post(
    "/v1/images/generations",
    openapi_extra=body_of(ImageRequest) | parameters("header", Idempotency_Key=ONCE, Prefer="respond-async"),
)
async def create_image(request: Request) -> Response:
    """Make images and wait for them. `Prefer: respond-async` answers 202 with the job instead.

    A caller who leaves cancels the job, unless an Idempotency-Key says that it will be asked for again.
    """
    gateway, caller, idempotency = gateway_of(request), caller_of(request), idempotency_of(request)
    image = await read_model(request, ImageRequest, gateway.settings)
    native = to_native(image, (await choose_model(gateway, image.model, "image")).name)
    try:
        submission = await intake.submit(request, native, JobKey(caller.tenant, new_id()), idempotency)
    except InvalidRequest as error:
        raise image.renamed(error) from None
    if wants_async(request):
        return await _accepted(request, submission.key)
    try:
        end = await wait_for_end(request, gateway, submission.key)
    except CallerLeft:
        if idempotency is None:
            await gateway.jobqueue.cancel(submission.key)
        return Response(status_code=CALLER_LEFT)
    except TimeoutError:
        raise await _still_running(request, submission.key) from None
    return await _finished(request, image, native.model, submission.key, end)


async def _accepted(request: Request, key: JobKey) -> Response:
    record = await _record(gateway_of(request), key)
    response = await answer(request, record, 202)
    response.headers["Preference-Applied"] = "respond-async"
    return response


async def _finished(request: Request, image: ImageRequest, model: str, key: JobKey, end: End) -> Response:
    gateway = gateway_of(request)
    if not isinstance(end, Completed):
        _raise_end(end, key)
    # Each is a round trip or a disk access, and the caller waits.
    record, entry, data = await asyncio.gather(
        _record(gateway, key), gateway.catalog.get(model), _data(request, image, key, end)
    )
    assert entry is not None, "catalog entries are never removed"
    created = record.created_ms // 1000
    return JSONResponse(
        image_answer(image, entry, record.request, end, job_id=key.id, created=created, data=data)
    )


async def _data(request: Request, image: ImageRequest, key: JobKey, end: Completed) -> list[JsonValue]:
    gateway = gateway_of(request)
    if image.response_format == "url":
        present = await gateway.presenter(request)
        return [linked(shown) for shown in present.artifacts(key, end.artifacts)]
    return [inline(await gateway.store.get(artifact.path), artifact.seed) for artifact in end.artifacts]


async def _still_running(request: Request, key: JobKey) -> WaitTimedOut:
    present = await gateway_of(request).presenter(request)
    return WaitTimedOut(
        "the job goes on; ask for it by its id",
        details={"job_id": key.id, "status_url": present.status_url(key)},
    )


def _raise_end(end: Failed | Cancelled, key: JobKey) -> NoReturn:
    """What a synchronous caller is told of a job that did not complete."""
    details: dict[str, JsonValue] = {"job_id": key.id}
    error: RheostatError
    if isinstance(end, Failed):
        error = JobFailed(end.error.message, param=end.error.param, code=end.error.code, details=details)
    else:
        error = Conflict("the job was cancelled", code="cancelled", details=details)
    raise error


async def _record(gateway: Gateway, key: JobKey) -> JobRecord:
    record = await gateway.jobqueue.get(key)
    if record is None:
        raise no_such_job()
    return record
