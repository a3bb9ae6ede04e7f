"""What was made, from any gateway."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from protocol.artifacts import EXTENSIONS
from protocol.events import Artifact
from server.links import file_of, linked_artifact
from server.openapi import parameters
from server.params import gateway_of, one_of

router = APIRouter(tags=["artifacts"])

_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})", re.ASCII)


VARIANTS = ("video", "thumbnail", "spritesheet", "midi", "roll", "musicxml")
FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in EXTENSIONS if kind != "application/json"}},
    307: {"description": "fetch it from the bucket it is in"},
}
WHICH = parameters("query", variant=f"of a video or of music: {', '.join(VARIANTS)}")


@router.get("/v1/artifacts/{job_id}/{index}", responses=FILES, openapi_extra=WHICH)
async def artifact(request: Request) -> Response:
    """The bytes of a job's result, by a signed link or with the key; perhaps by way of its bucket."""
    variant = one_of(request, "variant", VARIANTS)
    job_id, index = request.path_params["job_id"], request.path_params["index"]
    stored = await linked_artifact(request, job_id, index, request.query_params)
    return await file_response(request, stored, variant)


async def file_response(request: Request, stored: Artifact, variant: str | None) -> Response:
    """The artifact's own bytes, or those of another of its files; the part of them that `Range` asks for.

    Where the store gives out links of its own, a redirection to one.

    Raises:
        NotFound: it has no such variant.
        Gone: it is not there any more, or damaged.
    """
    file, store = file_of(stored, variant), gateway_of(request).store
    link = await store.link(file)
    if link is not None:
        return RedirectResponse(link, 307, headers={"Cache-Control": "no-store"})
    data = await store.get(file.path)
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


def _range(asked: str, size: int) -> range | None:
    """The one stretch of bytes asked for; None for all of them, also where we do not understand."""
    found = _RANGE.fullmatch(asked)
    if found is None or not (found[1] or found[2]):
        return None
    first = int(found[1]) if found[1] else max(0, size - int(found[2]))
    last = min(size - 1, int(found[2])) if found[1] and found[2] else size - 1
    return range(first, last + 1) if first <= last else None
