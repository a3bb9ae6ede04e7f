"""What stands in paths, queries and headers, read by hand so that errors are the contract's."""

from __future__ import annotations

import hashlib
import re
from typing import cast

from starlette.requests import Request

from protocol.errors import InvalidRequest, NotFound
from protocol.jobs import JOB_ID_PATTERN
from protocol.logs import mention, of_job
from protocol.records import JobKey
from server.auth import Caller
from server.gateway import Gateway

MAX_IDEMPOTENCY_KEY = 255
MAX_PAGE = 100
DEFAULT_PAGE = 20

_JOB_ID = re.compile(JOB_ID_PATTERN.rstrip("$"), re.ASCII)


def gateway_of(request: Request) -> Gateway:
    return cast(Gateway, request.app.state.gateway)


def caller_of(request: Request) -> Caller:
    """Who calls; raises Unauthorized for nobody we know."""
    return gateway_of(request).doorkeeper.identify(request)


def new_key(request: Request, caller: Caller) -> JobKey:
    """The key of a job named by the path; a bad name is refused and takes no id."""
    job_id = request.path_params["job_id"]
    if not _JOB_ID.fullmatch(job_id):
        raise InvalidRequest(
            "an id has 1 to 64 letters, digits, _ or -", param="id", details={"allowed": JOB_ID_PATTERN}
        )
    return _named(caller.tenant, job_id)


def known_key(tenant: str, job_id: str) -> JobKey:
    """The key of a job looked up; a name no job can have is simply not found."""
    if not _JOB_ID.fullmatch(job_id):
        raise no_such_job()
    return _named(tenant, job_id)


def _named(tenant: str, job_id: str) -> JobKey:
    """The key; what is logged from here on names it."""
    key = JobKey(tenant, job_id)
    mention(**of_job(str(key)))
    return key


def no_such_job() -> NotFound:
    return NotFound("there is no such job", param="id", code="job_not_found")


def idempotency_of(request: Request) -> tuple[str, str] | None:
    """Route and hashed Idempotency-Key, if one was sent."""
    sent = request.headers.get("idempotency-key")
    if sent is None:
        return None
    if not 1 <= len(sent) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest(f"must have 1 to {MAX_IDEMPOTENCY_KEY} characters", param="Idempotency-Key")
    return request.url.path.strip("/").replace("/", "."), hashlib.sha256(sent.encode()).hexdigest()


def wants_async(request: Request) -> bool:
    """Whether `Prefer: respond-async` was sent."""
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return any(preference.strip() == "respond-async" for preference in preferences)


def job_id_in_query(request: Request, name: str) -> str | None:
    """The query's `name`, if sent, as the id of a job that may exist."""
    sent = request.query_params.get(name)
    if sent is not None and not _JOB_ID.fullmatch(sent):
        raise NotFound("there is no such job", param=name, code="job_not_found")
    return sent


def whole_number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """The query's `name` as an integer in [least, most]."""
    sent = request.query_params.get(name)
    if sent is None:
        return default
    if not (sent.isascii() and sent.isdecimal() and len(sent) <= 9 and least <= int(sent) <= most):
        raise InvalidRequest(
            f"must be a whole number from {least} to {most}",
            param=name,
            details={"allowed": {"min": least, "max": most}},
        )
    return int(sent)


def one_of(request: Request, name: str, allowed: tuple[str, ...]) -> str | None:
    """The query's `name`, if sent, checked against `allowed`."""
    sent = request.query_params.get(name)
    if sent is not None and sent not in allowed:
        raise InvalidRequest("this value is not known", param=name, details={"allowed": list(allowed)})
    return sent
