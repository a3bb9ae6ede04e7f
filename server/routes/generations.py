"""Jobs in the native shape: make, look up, list, cancel."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from protocol.errors import Conflict, Gone
from protocol.jobs import GenerationRequest
from protocol.receipts import Receipt
from protocol.records import JobKey, JobRecord
from protocol.states import JobStatus
from server import intake
from server.answers import GenerationAnswer, GenerationPage, GenerationWithSteps
from server.body import read_model
from server.openapi import body_of, parameters
from server.params import (
    DEFAULT_PAGE,
    MAX_PAGE,
    caller_of,
    gateway_of,
    idempotency_of,
    job_id_in_query,
    known_key,
    new_key,
    no_such_job,
    one_of,
    whole_number,
)

router = APIRouter(tags=["generations"])

ACCEPTED: dict[int | str, dict[str, Any]] = {202: {"model": GenerationAnswer}}
ANSWERED: dict[int | str, dict[str, Any]] = {200: {"model": GenerationAnswer}}


ONCE = "the same key and body attach to the same job"


def new_id() -> str:
    return f"gen_{secrets.token_hex(12)}"


@router.post(
    "/v1/generations",
    status_code=202,
    responses=ACCEPTED,
    openapi_extra=body_of(GenerationRequest) | parameters("header", Idempotency_Key=ONCE),
)
async def create(request: Request) -> Response:
    """Queue a job. Answers at once; follow `status_url` or `events_url`."""
    caller, idempotency = caller_of(request), idempotency_of(request)
    return await _submit(request, JobKey(caller.tenant, new_id()), idempotency)


@router.put(
    "/v1/generations/{job_id}",
    status_code=202,
    responses={**ACCEPTED, **ANSWERED},
    openapi_extra=body_of(GenerationRequest),
)
async def put(request: Request) -> Response:
    """Queue a job under an id of the caller's; sent twice it is one job."""
    return await _submit(request, new_key(request, caller_of(request)), None)


@router.get(
    "/v1/generations",
    responses={200: {"model": GenerationPage}},
    openapi_extra=parameters("query", after="the last id of the page before", limit=f"1 to {MAX_PAGE}"),
)
async def list_jobs(request: Request) -> Response:
    """The caller's jobs, newest first."""
    gateway, caller = gateway_of(request), caller_of(request)
    limit = whole_number(request, "limit", default=DEFAULT_PAGE, least=1, most=MAX_PAGE)
    after = job_id_in_query(request, "after")
    page = await gateway.jobqueue.list(caller.tenant, after=after, limit=limit)
    present = await gateway.presenter(request)
    data = tuple(present.job(record) for record in page.records)
    return _json(
        GenerationPage(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=page.has_more,
        )
    )


@router.get(
    "/v1/generations/{job_id}",
    responses={200: {"model": GenerationAnswer | GenerationWithSteps}},
    openapi_extra=parameters("query", include="steps: the whole receipt too"),
)
async def get(request: Request) -> Response:
    """The job with its totals; `?include=steps` for every step. 200 also when the job failed."""
    with_steps = one_of(request, "include", ("steps",)) is not None
    record = await _asked_for(request)
    if not with_steps or record.receipt_path is None:
        return await answer(request, record, 200)
    job = (await gateway_of(request).presenter(request)).job(record)
    return _json(GenerationWithSteps(**dict(job), receipt=await read_receipt(request, record)))


@router.get("/v1/generations/{job_id}/receipt", responses={200: {"model": Receipt}})
async def receipt(request: Request) -> Response:
    """The whole receipt of a job that has run."""
    record = await _asked_for(request)
    if record.receipt_path is None and not record.status.ended:
        raise Conflict("the receipt is written when the job has ended", param="id", code="not_ended")
    return _json(await read_receipt(request, record))


@router.post("/v1/generations/{job_id}/cancel", responses=ANSWERED)
async def cancel(request: Request) -> Response:
    """Stop the job: at once if it waits, at its next step if it runs."""
    gateway, caller = gateway_of(request), caller_of(request)
    key = known_key(caller.tenant, request.path_params["job_id"])
    outcome = await gateway.jobqueue.cancel(key)
    if outcome == "missing":
        raise no_such_job()
    record = await _find(request, key)
    if outcome == "ended":
        raise Conflict(f"the job has already ended: {record.status}", param="id", code="already_ended")
    if outcome == "cancelled":
        gateway.metrics.ended(record.model, JobStatus.CANCELLED)
    return await answer(request, record, 200)


async def answer(request: Request, record: JobRecord, status: int) -> Response:
    """The job as an answer, with its place in `Location` where it was only accepted."""
    present = await gateway_of(request).presenter(request)
    response = _json(present.job(record), status)
    if status == 202:
        response.headers["Location"] = present.status_url(record.key)
    return response


async def read_receipt(request: Request, record: JobRecord) -> Receipt:
    """The whole receipt from the artifact store; Gone if the job left none."""
    if record.receipt_path is None:
        raise Gone("this job ended without a receipt", code="no_receipt")
    return await gateway_of(request).store.get_receipt(record.receipt_path)


async def _submit(request: Request, key: JobKey, idempotency: tuple[str, str] | None) -> Response:
    body = await read_model(request, GenerationRequest, gateway_of(request).settings)
    submission = await intake.submit(request, body, key, idempotency)
    record = await _find(request, submission.key)
    return await answer(request, record, 200 if record.status.ended else 202)


async def _asked_for(request: Request) -> JobRecord:
    caller = caller_of(request)
    return await _find(request, known_key(caller.tenant, request.path_params["job_id"]))


async def _find(request: Request, key: JobKey) -> JobRecord:
    record = await gateway_of(request).jobqueue.get(key)
    if record is None:
        raise no_such_job()
    return record


def _json(shown: GenerationAnswer | GenerationPage | Receipt, status: int = 200) -> Response:
    return Response(shown.model_dump_json(), status_code=status, media_type="application/json")
