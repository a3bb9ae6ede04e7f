"""Artifacts by their links: who may have them, and which file a link means."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from protocol.errors import NotFound
from protocol.events import Artifact, Variant
from protocol.notes import MIDI_TYPE
from protocol.records import JobKey
from server.auth import ANONYMOUS
from server.params import caller_of, gateway_of, known_key, no_such_job

MAX_INDEX_DIGITS = 4
_OWN = {"video/mp4": "video", MIDI_TYPE: "midi"}
"""What the artifact itself is called among its variants."""


async def linked_artifact(request: Request, job_id: str, index: str, query: Mapping[str, str]) -> Artifact:
    """The `index`-th result of a job, for who holds a signed link (its `query`) or the key of the job.

    Raises:
        Unauthorized: a link that is not ours or has expired, or no key at all.
        NotFound: there is no such job, or it has no such artifact.
    """
    number = _index(index)
    key = await _authorized(request, job_id, number, query)
    record = await gateway_of(request).jobqueue.get(key)
    if record is None:
        raise no_such_job()
    if number >= len(record.artifacts):
        raise _no_such_artifact()
    return record.artifacts[number]


def file_of(stored: Artifact, variant: str | None) -> Artifact | Variant:
    """The artifact itself, or another of its files.

    Raises:
        NotFound: it has no such variant.
    """
    if variant is None or variant == _OWN.get(stored.media_type):
        return stored
    for file in stored.variants:
        if file.name == variant:
            return file
    raise NotFound("the artifact has no such variant", param="variant", code="artifact_not_found")


async def _authorized(request: Request, job_id: str, index: int, query: Mapping[str, str]) -> JobKey:
    if "sig" not in query:
        return known_key(caller_of(request).tenant, job_id)
    key = known_key(query.get("tenant", ANONYMOUS.tenant), job_id)
    signer = await gateway_of(request).signer()
    signer.check(key, index, query.get("exp", ""), query["sig"])
    return key


def _index(sent: str) -> int:
    if not (sent.isascii() and sent.isdecimal() and len(sent) <= MAX_INDEX_DIGITS):
        raise _no_such_artifact()
    return int(sent)


def _no_such_artifact() -> NotFound:
    return NotFound("the job has no such artifact", param="index", code="artifact_not_found")
