"""From a native request to a job: what every route that makes one does.

An image the request starts from is looked at last, stored before the job is queued, and removed again if no
job came of it.
"""

from __future__ import annotations

import asyncio
import re
from urllib.parse import parse_qsl

from starlette.requests import Request

from protocol.errors import Gone, InvalidRequest, NotFound, RheostatError, Unauthorized, Unavailable
from protocol.jobs import GenerationRequest
from protocol.logs import mention, of_job
from protocol.records import JobKey, Submission
from protocol.start_images import MEDIA_TYPE, PARAM, ImageLimits, inline_bytes, read_image, to_png
from server.admission import KeptImage
from server.links import file_of, linked_artifact
from server.params import caller_of, gateway_of

_ARTIFACT = re.compile(r"/v1/artifacts/([^/?#]+)/([^/?#]+)(?:\?([^#]*))?")


async def submit(
    request: Request, native: GenerationRequest, key: JobKey, idempotency: tuple[str, str] | None = None
) -> Submission:
    """Put the request into the queue, or find the job that already stands for it.

    Raises:
        RheostatError: as `Admission.submit`, or the image is not one that is taken.
    """
    gateway, caller = gateway_of(request), caller_of(request)
    mention(**of_job(str(key)))
    if native.input.image is None:
        return await gateway.admission.submit(native, key, caller, idempotency=idempotency)
    await gateway.admission.quote(native, caller)
    data = await _file_behind(request, native.input.image)
    png = await asyncio.to_thread(_as_kept, data, gateway.settings.images)
    path = await gateway.store.put_given(key, png, MEDIA_TYPE)
    try:
        submission = await gateway.admission.submit(
            native, key, caller, idempotency=idempotency, image=KeptImage.of(path, png)
        )
    except RheostatError as error:
        if type(error) is not Unavailable:  # then the job may have been taken all the same
            await gateway.store.discard(path)
        raise
    if submission.outcome != "ok":
        await gateway.store.discard(path)
    return submission


def _as_kept(data: bytes, limits: ImageLimits) -> bytes:
    return to_png(read_image(data, limits))


async def _file_behind(request: Request, text: str) -> bytes:
    """The file that the text is, or links to.

    Raises:
        InvalidRequest: it is no base64, or a link that would not give its bytes to this caller.
    """
    if not text.startswith(("http://", "https://")):
        return inline_bytes(text)
    home = gateway_of(request).address(request)
    found = _ARTIFACT.fullmatch(text.removeprefix(home)) if text.startswith(home) else None
    if found is None:
        raise InvalidRequest("a URL must be that of an artifact of this server", param=PARAM)
    query = dict(parse_qsl(found[3] or "", keep_blank_values=True))
    try:
        artifact = await linked_artifact(request, found[1], found[2], query)
        return await gateway_of(request).store.get(file_of(artifact, query.get("variant")).path)
    except (Unauthorized, NotFound, Gone) as error:
        raise InvalidRequest(error.message, param=PARAM, code=error.code) from error
