"""The pictures and videos themselves, from any gateway."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from protocol.errors import NotFound
from protocol.events import Artifact, Variant
from protocol.records import JobKey
from server.auth import ANONYMOUS
from server.openapi import parameters
from server.params import caller_of, gateway_of, known_key, no_such_job, one_of

router = APIRouter(tags=["artifacts"])

MAX_INDEX_DIGITS = 4
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})", re.ASCII)


VARIANTS = ("video", "thumbnail", "spritesheet")
FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in ("image/png", "video/mp4", "image/webp", "image/jpeg")}}
}
WHICH = parameters("query", variant=f"of a video: {', '.join(VARIANTS)}")


@router.get("/v1/artifacts/{job_id}/{index}", responses=FILES, openapi_extra=WHICH)
async def artifact(request: Request) -> Response:
    """The bytes of a job's result, by a signed link or with the key."""
    gateway = gateway_of(request)
    index = _index(request.path_params["index"])
    variant = one_of(request, "variant", VARIANTS)
    key = await _authorized(request, index)
    record = await gateway.jobqueue.get(key)
    if record is None:
        raise no_such_job()
    if index >= len(record.artifacts):
        raise _no_such_artifact()
    return await file_response(request, record.artifacts[index], variant)


async def file_response(request: Request, stored: Artifact, variant: str | None) -> Response:
    """The artifact's own bytes, or those of one of its stills; the part of them that `Range` asks for.

    Raises:
        NotFound: it has no such variant.
    """
    file = _file(stored, variant)
    data = await gateway_of(request).store.get(file.path)
    headers = {
        "ETag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    part = _range(request.headers.get("range", ""), len(data))
    if part is None:
        return Response(data, media_type=file.media_type, headers=headers)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
    return Response(data[part.start : part.stop], 206, media_type=file.media_type, headers=headers)


def _file(stored: Artifact, variant: str | None) -> Artifact | Variant:
    if variant is None or (variant == "video" and stored.clip is not None):
        return stored
    for still in stored.clip.variants if stored.clip is not None else ():
        if still.name == variant:
            return still
    raise NotFound("the artifact has no such variant", param="variant", code="artifact_not_found")


def _range(asked: str, size: int) -> range | None:
    """The one stretch of bytes asked for; None for all of them, also where we do not understand."""
    found = _RANGE.fullmatch(asked)
    if found is None or not (found[1] or found[2]):
        return None
    first = int(found[1]) if found[1] else max(0, size - int(found[2]))
    last = min(size - 1, int(found[2])) if found[1] and found[2] else size - 1
    return range(first, last + 1) if first <= last else None


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
