"""The pictures themselves, from any gateway."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from protocol.errors import NotFound
from protocol.events import Artifact
from protocol.records import JobKey
from server.auth import ANONYMOUS
from server.params import caller_of, gateway_of, known_key, no_such_job

router = APIRouter(tags=["artifacts"])

MAX_INDEX_DIGITS = 4


@router.get("/v1/artifacts/{job_id}/{index}", responses={200: {"content": {"image/png": {}}}})
async def artifact(request: Request) -> Response:
    """The bytes of a job's result, by a signed link or with the key."""
    gateway = gateway_of(request)
    index = _index(request.path_params["index"])
    key = await _authorized(request, index)
    record = await gateway.jobqueue.get(key)
    if record is None:
        raise no_such_job()
    if index >= len(record.artifacts):
        raise _no_such_artifact()
    stored = record.artifacts[index]
    return Response(
        await gateway.store.get(stored.path), media_type=stored.media_type, headers=_headers(stored)
    )


async def _authorized(request: Request, index: int) -> JobKey:
    """Whose artifact is asked for; raises Unauthorized for a link that is not ours and for no key at all."""
    gateway, job_id, query = gateway_of(request), request.path_params["job_id"], request.query_params
    if "sig" not in query:
        return known_key(caller_of(request).tenant, job_id)
    key = known_key(query.get("tenant", ANONYMOUS.tenant), job_id)
    (await gateway.signer()).check(key, index, query.get("exp", ""), query["sig"])
    return key


def _index(sent: str) -> int:
    if not (sent.isascii() and sent.isdecimal() and len(sent) <= MAX_INDEX_DIGITS):
        raise _no_such_artifact()
    return int(sent)


def _no_such_artifact() -> NotFound:
    return NotFound("the job has no such artifact", param="index", code="artifact_not_found")


def _headers(stored: Artifact) -> dict[str, str]:
    return {
        "ETag": f'"{stored.sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
