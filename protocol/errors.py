"""Every error a caller can see, in one tree.

RheostatError
├── BadRequest                400  bad_request (malformed_json, ...)
├── Unauthorized              401  unauthorized
├── Forbidden                 403  forbidden (model_not_allowed)
├── NotFound                  404  not_found
├── MethodNotAllowed          405  method_not_allowed
├── Conflict                  409  conflict (id_reused, already_ended, state_gone)
├── Gone                      410  artifact_expired
├── BodyTooLarge              413  body_too_large
├── UnsupportedMediaType      415  unsupported_media_type
├── InvalidRequest            422  invalid_value (unknown_field, missing_field, unknown_model, ...)
│   ├── BudgetTooSmall             budget_too_small
│   └── DeadlineInfeasible         deadline_infeasible
├── QuotaExceeded             429  quota_exceeded
├── Unavailable               503  unavailable
│   ├── QueueFull                  queue_full
│   └── DeadlineInfeasibleNow      deadline_infeasible_now
├── WaitTimedOut              504  wait_timed_out
└── JobFailed                 500  what a job can end with; stands in the job, never as an HTTP status
    ├── SampleFailed               sample_failed
    ├── OutOfMemory                out_of_memory
    └── AttemptsExhausted          attempts_exhausted

`code` is also the metric label. `retryable` says whether the same call may succeed later. Only the gateway
turns a class into HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, JsonValue


class ErrorInfo(BaseModel):
    """The part of an error that a job keeps and every answer shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str
    param: str | None = None


class RheostatError(Exception):
    """Root of the tree. `code` may name a narrower case than the class does."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    retryable: ClassVar[bool] = False
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        details: Mapping[str, JsonValue] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code
        self.details: dict[str, JsonValue] = dict(details or {})
        self.retry_after_s = retry_after_s

    @property
    def info(self) -> ErrorInfo:
        return ErrorInfo(code=self.code, message=self.message, param=self.param)


class BadRequest(RheostatError):
    status, kind, default_code = 400, "invalid_request_error", "bad_request"


class Unauthorized(RheostatError):
    status, kind, default_code = 401, "authentication_error", "unauthorized"


class Forbidden(RheostatError):
    status, kind, default_code = 403, "permission_error", "forbidden"


class NotFound(RheostatError):
    status, kind, default_code = 404, "not_found_error", "not_found"


class MethodNotAllowed(RheostatError):
    status, kind, default_code = 405, "invalid_request_error", "method_not_allowed"


class Conflict(RheostatError):
    status, kind, default_code = 409, "conflict_error", "conflict"


class Gone(RheostatError):
    status, kind, default_code = 410, "not_found_error", "artifact_expired"


class BodyTooLarge(RheostatError):
    status, kind, default_code = 413, "invalid_request_error", "body_too_large"


class UnsupportedMediaType(RheostatError):
    status, kind, default_code = 415, "invalid_request_error", "unsupported_media_type"


class InvalidRequest(RheostatError):
    """A value is not allowed; `param` names it and `details["allowed"]` says what is."""

    status, kind, default_code = 422, "invalid_request_error", "invalid_value"


class BudgetTooSmall(InvalidRequest):
    """Even the cheapest plan costs more; details carry min_fraction and min_tflops."""

    default_code = "budget_too_small"


class DeadlineInfeasible(InvalidRequest):
    default_code = "deadline_infeasible"


class QuotaExceeded(RheostatError):
    status, kind, retryable, default_code = 429, "rate_limit_error", True, "quota_exceeded"


class Unavailable(RheostatError):
    status, kind, retryable, default_code = 503, "server_error", True, "unavailable"


class QueueFull(Unavailable):
    default_code = "queue_full"


class DeadlineInfeasibleNow(Unavailable):
    default_code = "deadline_infeasible_now"


class WaitTimedOut(RheostatError):
    """A synchronous wait ran out; the job goes on and its id stands in `details`."""

    status, kind, default_code = 504, "server_error", "wait_timed_out"


class JobFailed(RheostatError):
    """Why an accepted job ended in `failed`."""

    default_code = "job_failed"


class SampleFailed(JobFailed):
    default_code = "sample_failed"


class OutOfMemory(JobFailed):
    retryable, default_code = True, "out_of_memory"


class AttemptsExhausted(JobFailed):
    default_code = "attempts_exhausted"
