"""Artifacts in a bucket: Amazon's S3, or whatever else speaks its protocol.

Keys are no settings of ours: they come as all AWS tools take them, from the environment (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`), a mounted web identity or the machine's role.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from pydantic import BaseModel, ConfigDict, Field

Endpoint = Annotated[str, Field(pattern=r"^https?://[^/\s?#@]+/?$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

MAX_PRESIGNED_TTL_S = 7 * 86_400
"""Longer ones are refused by S3 itself."""


class S3Settings(BaseModel):
    """How a bucket is reached, if the artifact store is one.

    Attributes:
        endpoint_url: of another server than Amazon's, `http://minio:9000`.
        region: None: as the environment says, else us-east-1.
        addressing_style: `path` (`endpoint/bucket/key`), `virtual` (`bucket.endpoint/key`) or the driver's
            choice, `auto`. None: `path` at an `endpoint_url`, which seldom has a name for each bucket.
        connect_timeout_s, timeout_s: to connect; to wait for more bytes.
        presigned: whether callers who fetch an artifact are sent on to the bucket, by a link that holds for
            `presigned_ttl_s`. They must be able to reach it. Bytes then do not pass the gateway, which looks
            at their number and no more at their hash.
        public_endpoint_url: by what callers reach the bucket, where that is not `endpoint_url`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: Endpoint | None = None
    region: str | None = None
    addressing_style: Literal["auto", "path", "virtual"] | None = None
    connect_timeout_s: Seconds = 5.0
    timeout_s: Seconds = 30.0
    presigned: bool = False
    presigned_ttl_s: Annotated[int, Field(ge=1, le=MAX_PRESIGNED_TTL_S)] = 900
    public_endpoint_url: Endpoint | None = None


class Bucket:
    """A bucket's file system, and the links it gives out."""

    def __init__(self, url: str, settings: S3Settings) -> None:
        """Args:
        url: `s3://bucket/prefix`.
        """
        self._settings = settings
        self.fs, self.root = _open(url, settings, settings.endpoint_url)
        self._public, _ = _open(url, settings, settings.public_endpoint_url or settings.endpoint_url)

    @property
    def outages(self) -> tuple[type[Exception], ...]:
        """What the driver raises, beside OSError, when the bucket cannot be had."""
        from botocore.exceptions import BotoCoreError, ClientError

        return (BotoCoreError, ClientError)

    @property
    def presigned(self) -> bool:
        """Whether callers fetch from the bucket."""
        return self._settings.presigned

    def link(self, path: str, media_type: str) -> str:
        """A URL of the file at `path`, which gives its bytes to who holds it. Asks nobody."""
        url: str = self._public.url(
            path,
            expires=self._settings.presigned_ttl_s,
            ResponseContentType=media_type,
            ResponseCacheControl="private, max-age=31536000, immutable",
        )
        return url


def is_bucket(url: str) -> bool:
    """Whether the URL is one of S3's."""
    return url.startswith(("s3://", "s3a://"))


def _open(url: str, settings: S3Settings, endpoint_url: str | None) -> tuple[AbstractFileSystem, str]:
    style = settings.addressing_style or ("auto" if endpoint_url is None else "path")
    client: dict[str, Any] = {} if settings.region is None else {"region_name": settings.region}
    config = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": style},
        "connect_timeout": settings.connect_timeout_s,
        "read_timeout": settings.timeout_s,
        "retries": {"total_max_attempts": 1},  # s3fs itself tries five times
        # Newer checksums are unknown to many servers; the hash in a file's name says as much.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    fs, root = url_to_fs(
        url,
        endpoint_url=endpoint_url,
        client_kwargs=client,
        config_kwargs=config,
        use_listings_cache=False,  # others write here, too
    )
    return fs, root
