"""The gateway's settings: command line over environment over file over default.

Environment variables are the field names in capitals after `RHEOSTAT_SERVER_`, parts of `queue`, `s3`,
`images` and `tracing` after another `__`; the file is YAML with the same names. Unknown keys in the file are
refused.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from protocol.jobqueue.settings import QueueSettings
from protocol.layered_settings import LayeredSettings
from protocol.logs import LogFormat, LogLevel
from protocol.s3 import S3Settings
from protocol.start_images import ImageLimits
from protocol.tracing import TracingSettings
from server.places import DATA_DIR

KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class ApiKey(BaseModel):
    """One caller. The key itself is never stored, only its SHA-256 in hex; `models` None means all.

    Without `audit` its jobs are never run again to see what their budgets cost in quality.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    models: tuple[str, ...] | None = None
    audit: bool = True


class ServerSettings(LayeredSettings):
    """Everything a gateway can be told."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="RHEOSTAT_SERVER_", env_nested_delimiter="__"
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    redis_url: str = "redis://127.0.0.1:6379/0"
    queue: QueueSettings = QueueSettings()
    artifacts: str = str(DATA_DIR / "artifacts")
    """A folder or an fsspec URL; the workers' too."""
    s3: S3Settings = S3Settings()
    """How the bucket is reached, if `artifacts` is one."""
    public_url: str | None = None
    """What callers reach us by, when that is not the Host they send."""

    api_keys: dict[KeyName, ApiKey] = Field(default_factory=dict)
    """The key's name is also the tenant its jobs belong to."""
    allow_anonymous: bool = False
    """Serve without keys on an address others can reach."""

    default_model: str | None = None
    """For requests in OpenAI's shape that name none; None: the only one that makes what is asked for."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 2**20
    images: ImageLimits = ImageLimits()
    """What is taken of images that requests start from. One in the body is within `max_body_bytes` too."""
    body_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    sync_wait_s: Annotated[float, Field(gt=0)] = 55.0
    heartbeat_s: Annotated[float, Field(gt=0)] = 15.0
    url_ttl_s: Annotated[int, Field(ge=1)] = 3600
    """How long a signed artifact URL works."""
    reap_every_s: Annotated[float, Field(gt=0)] = 1.0
    ready_needs_worker: bool = False
    log_format: LogFormat = "auto"
    log_level: LogLevel = "info"
    tracing: TracingSettings = TracingSettings()
    """Where spans of jobs go; off without an endpoint."""
    drain_s: Annotated[float, Field(ge=0)] = 10.0
    """How long open calls may go on after SIGTERM."""

    @model_validator(mode="after")
    def _keys_where_others_can_reach(self) -> Self:
        if not self.api_keys and not self.allow_anonymous and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other machines: set api_keys, or say allow_anonymous"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
