"""Videos as OpenAI's clients ask for them: made in the background, looked up, fetched, deleted."""

from __future__ import annotations

import asyncio
import secrets

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from protocol.catalog import CatalogEntry
from protocol.errors import Conflict, RheostatError
from protocol.records import JobKey, JobRecord
from protocol.states import JobStatus
from server import intake
from server.body import read_json_or_form
from server.forms import MULTIPART, URLENCODED
from server.gateway import Gateway
from server.model_choice import choose_model
from server.openai_videos import (
    VideoAnswer,
    VideoDeleted,
    VideoPage,
    VideoRequest,
    is_video,
    read_form,
    to_native,
    video_answer,
)
from server.openapi import body_of, parameters
from server.params import (
    DEFAULT_PAGE,
    MAX_PAGE,
    caller_of,
    gateway_of,
    idempotency_of,
    job_id_in_query,
    known_key,
    no_such_job,
    one_of,
    whole_number,
)
from server.routes.artifacts import FILES, VARIANTS, WHICH, file_response
from server.routes.generations import ONCE

router = APIRouter(tags=["videos"])

POLL_AFTER_MS = 500
"""How long OpenAI's client waits between looks unless its caller says otherwise; else it takes a second."""


@router.post(
    "/v1/videos",
    responses={200: {"model": VideoAnswer}},
    openapi_extra=body_of(VideoRequest, MULTIPART, URLENCODED) | parameters("header", Idempotency_Key=ONCE),
)
async def create(request: Request) -> Response:
    """Queue a video. Answers at once; look it up by its id, or follow `events_url`."""
    gateway, caller, idempotency = gateway_of(request), caller_of(request), idempotency_of(request)
    video = await read_json_or_form(request, VideoRequest, gateway.settings, read_form)
    native = to_native(video, await choose_model(gateway, video.model, "video"))
    key = JobKey(caller.tenant, f"video_{secrets.token_hex(12)}")
    try:
        submission = await intake.submit(request, native, key, idempotency)
    except RheostatError as error:
        raise video.renamed(error) from None
    return await _answer(request, await _find(request, submission.key))


@router.get(
    "/v1/videos",
    responses={200: {"model": VideoPage}},
    openapi_extra=parameters(
        "query", after="the last id of the page before", limit=f"1 to {MAX_PAGE}", order="asc or desc"
    ),
)
async def list_videos(request: Request) -> Response:
    """The caller's videos, newest first unless `order` is `asc`."""
    gateway, caller = gateway_of(request), caller_of(request)
    limit = whole_number(request, "limit", default=DEFAULT_PAGE, least=1, most=MAX_PAGE)
    oldest_first = one_of(request, "order", ("asc", "desc")) == "asc"
    after = job_id_in_query(request, "after")
    found = await _page(gateway, caller.tenant, after, limit + 1, oldest_first=oldest_first)
    data = await _shown(request, found[:limit])
    page = VideoPage(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )
    return _json(page)


@router.get("/v1/videos/{job_id}", responses={200: {"model": VideoAnswer}})
async def retrieve(request: Request) -> Response:
    """The video as it stands. 200 also when it failed."""
    response = await _answer(request, await _asked_for(request))
    response.headers["openai-poll-after-ms"] = str(POLL_AFTER_MS)
    return response


@router.get("/v1/videos/{job_id}/content", responses=FILES, openapi_extra=WHICH)
async def content(request: Request) -> Response:
    """The MP4, or its thumbnail (WebP) or spritesheet (JPEG)."""
    variant = one_of(request, "variant", VARIANTS)
    record = await _asked_for(request)
    if record.status is not JobStatus.COMPLETED:
        raise Conflict(
            f"there is nothing to fetch: the video is {record.status}", param="id", code="not_completed"
        )
    return await file_response(request, record.artifacts[0], variant)


@router.delete("/v1/videos/{job_id}", responses={200: {"model": VideoDeleted}})
async def delete(request: Request) -> Response:
    """Remove an ended video and its files for good."""
    gateway, record = gateway_of(request), await _asked_for(request)
    if not record.status.ended:
        raise Conflict(f"cancel it first: the video is {record.status}", param="id", code="not_ended")
    # Files first: if we end in between, the call can be sent again.
    await gateway.store.delete_prefix(record.key)
    await gateway.jobqueue.forget(record.key)
    return _json(VideoDeleted(id=record.key.id))


async def _page(
    gateway: Gateway, tenant: str, after: str | None, wanted: int, *, oldest_first: bool
) -> list[JobRecord]:
    """So many videos after `after`, picked out of all the tenant's jobs."""
    found: list[JobRecord] = []
    while len(found) < wanted:
        page = await gateway.jobqueue.list(tenant, after=after, limit=MAX_PAGE, oldest_first=oldest_first)
        found += [record for record in page.records if is_video(record)]
        if not (page.has_more and page.records):
            break
        after = page.records[-1].key.id
    return found[:wanted]


async def _asked_for(request: Request) -> JobRecord:
    caller = caller_of(request)
    return await _find(request, known_key(caller.tenant, request.path_params["job_id"]))


async def _find(request: Request, key: JobKey) -> JobRecord:
    record = await gateway_of(request).jobqueue.get(key)
    if record is None or not is_video(record):
        raise no_such_job()
    return record


async def _answer(request: Request, record: JobRecord) -> Response:
    [shown] = await _shown(request, [record])
    return _json(shown)


async def _shown(request: Request, records: list[JobRecord]) -> tuple[VideoAnswer, ...]:
    gateway = gateway_of(request)
    present = await gateway.presenter(request)
    names = sorted({record.model for record in records})
    entries = dict(zip(names, await asyncio.gather(*map(gateway.catalog.get, names)), strict=True))
    ttl_s = gateway.settings.queue.ended_ttl_s
    return tuple(video_answer(record, _known(entries[record.model]), present, ttl_s) for record in records)


def _known(entry: CatalogEntry | None) -> CatalogEntry:
    assert entry is not None, "catalog entries are never removed"
    return entry


def _json(shown: BaseModel) -> Response:
    return Response(shown.model_dump_json(), media_type="application/json")
