"""The artifact store: what was made, and receipts, as files that gateways and workers share.

Any place fsspec knows will do: a folder (the default), a bucket `s3://bucket/prefix` (`protocol.s3`), or what
else has its driver installed. Names carry the content's hash, `{tenant}/{job}/{attempt}/{n}-{sha256}.{ext}`
and, for a result's other files, `{n}-{variant}-{sha256}.{ext}`: a reader can tell a damaged file, and a job's
files go by prefix. Bytes are stored before the commit that names them. What a job was given stands under
`{tenant}/{job}/given`, stored before the job is queued.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from protocol.durable_files import write_aside, write_durably
from protocol.errors import Gone, NotFound, Unavailable
from protocol.events import Artifact, Clip, Score, Variant, VariantName
from protocol.receipts import Receipt
from protocol.records import JobKey
from protocol.s3 import Bucket, S3Settings, is_bucket

EXTENSIONS = {
    "image/png": "png",
    "image/webp": "webp",
    "image/jpeg": "jpg",
    "video/mp4": "mp4",
    "text/plain": "txt",
    "audio/midi": "mid",
    "application/vnd.recordare.musicxml+xml": "musicxml",
    "application/json": "json",
}
NONCE_FILE = ".rheostat-nonce"
RETRY_AFTER_S = 5

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Side:
    """Another file of a result before it is stored: a still of a video, a picture or score of music."""

    name: VariantName
    data: bytes
    media_type: str
    width: int | None = None
    height: int | None = None


class NoDriver(ValueError):
    """The store's URL needs a driver that is not installed; the message says which."""


class NonceKeeper(Protocol):
    """Where the shared nonce is agreed on: the catalog in Redis."""

    async def nonce(self, proposed: str, /) -> str:
        """Store `proposed` unless one stands already; return the one that stands."""
        ...


class ArtifactStore:
    """Files under one root, addressed by relative paths with forward slashes."""

    def __init__(self, url_or_path: str, s3: S3Settings | None = None) -> None:
        """Args:
        url_or_path: a folder, or a URL of any fsspec file system.
        s3: how a bucket is reached, if it is one.

        Raises:
            NoDriver: the URL's file system is not installed.
        """
        self._bucket: Bucket | None = None
        try:
            if is_bucket(url_or_path):
                self._bucket = Bucket(url_or_path, s3 or S3Settings())
                self._fs, self._root = self._bucket.fs, self._bucket.root
            else:
                self._fs, self._root = url_to_fs(url_or_path)
        except (ImportError, ValueError) as error:
            scheme = url_or_path.partition(":")[0]
            raise NoDriver(f"artifacts at {scheme}: {error} (rheostat[s3] has the driver of s3)") from error
        self._local = isinstance(self._fs, LocalFileSystem)
        driver = self._bucket.outages if self._bucket is not None else ()
        self._outages: tuple[type[Exception], ...] = () if self._local else (OSError, *driver)

    async def put(  # noqa: PLR0917 - an artifact is all of these
        self,
        key: JobKey,
        attempt: int,
        index: int,
        data: bytes,
        media_type: str,
        seed: int,
        shown: Clip | Score | None = None,
    ) -> Artifact:
        """Store the `index`-th result of an attempt, durably where the store is a folder."""
        path, digest = await self._put(key, attempt, str(index), data, media_type)
        return Artifact(
            path=path,
            media_type=media_type,
            bytes=len(data),
            sha256=digest,
            seed=seed,
            clip=shown if isinstance(shown, Clip) else None,
            score=shown if isinstance(shown, Score) else None,
        )

    async def put_side(self, key: JobKey, attempt: int, index: int, side: Side) -> Variant:
        """Store another file of the `index`-th result."""
        name = f"{index}-{side.name}"
        path, digest = await self._put(key, attempt, name, side.data, side.media_type)
        return Variant(
            name=side.name,
            path=path,
            media_type=side.media_type,
            bytes=len(side.data),
            sha256=digest,
            width=side.width,
            height=side.height,
        )

    async def put_receipt(self, key: JobKey, attempt: int, receipt: Receipt) -> str:
        """Store the whole receipt; returns its path."""
        data = receipt.model_dump_json(exclude_none=True).encode()
        path = f"{_prefix(key)}/{attempt}/receipt-{hashlib.sha256(data).hexdigest()}.json"
        await self._in_thread(lambda: self._write(path, data))
        return path

    async def put_given(self, key: JobKey, data: bytes, media_type: str) -> str:
        """Store what came with a job that is not queued yet; returns its path, never the same twice.

        So whoever finds that the job was not taken may `discard` it, whatever others do under that key.
        """
        path, _ = await self._put(key, "given", secrets.token_hex(8), data, media_type)
        return path

    async def discard(self, path: str) -> None:
        """Remove what `put_given` stored."""
        await self._in_thread(lambda: self._delete(path))

    async def get(self, path: str) -> bytes:
        """The bytes at `path`.

        Raises:
            Gone: nothing is there any more, or what is there is not what was stored.
            NotFound: `path` is not a name this store gives out.
        """
        digest = _digest_in(path)
        data = await self._in_thread(lambda: self._read(path))
        if hashlib.sha256(data).hexdigest() != digest:
            raise Gone("the stored artifact is damaged")
        return data

    async def link(self, file: Artifact | Variant) -> str | None:
        """Where the file can be fetched without us for a while; None: only `get` has its bytes.

        Raises:
            Gone: nothing is there any more, or not so many bytes as were stored.
        """
        bucket = self._bucket
        if bucket is None or not bucket.presigned:
            return None
        if await self._in_thread(lambda: self._size(file.path)) != file.bytes:
            raise Gone("the stored artifact is damaged")
        return await self._in_thread(lambda: bucket.link(self._full(file.path), file.media_type))

    async def get_receipt(self, path: str) -> Receipt:
        """The receipt at `path`; raises as `get` does."""
        return Receipt.model_validate_json(await self.get(path))

    async def delete_prefix(self, key: JobKey) -> None:
        """Remove everything of one job; a job without files is no error."""
        await self._in_thread(lambda: self._delete(_prefix(key)))

    async def ensure_shared(self, keeper: NonceKeeper) -> None:
        """Check that this store is the one all others of the same Redis use.

        An empty store is marked with a nonce by the first who asks; Redis keeps the first nonce it is told,
        and everybody's store must hold that one.

        Raises:
            Unavailable: code `artifacts_not_shared`.
        """
        marked = await self._in_thread(self._nonce)
        if await keeper.nonce(marked) != marked:
            raise Unavailable(
                "this artifact store is not the one the other gateways and workers of this Redis use",
                code="artifacts_not_shared",
            )

    async def _put(
        self, key: JobKey, folder: int | str, name: str, data: bytes, media_type: str
    ) -> tuple[str, str]:
        """Store the bytes; their path and sha256."""
        digest = hashlib.sha256(data).hexdigest()
        path = f"{_prefix(key)}/{folder}/{name}-{digest}.{EXTENSIONS[media_type]}"
        await self._in_thread(lambda: self._write(path, data))
        return path, digest

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do `work`. Where the store is another machine its being away is `Unavailable`, not our mistake."""
        try:
            return await asyncio.to_thread(work)
        except self._outages as error:
            log.warning("the artifact store: %s: %s", type(error).__name__, error)
            raise Unavailable(
                "the artifact store cannot be reached",
                code="artifacts_unavailable",
                retry_after_s=RETRY_AFTER_S,
            ) from error

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _write(self, path: str, data: bytes) -> None:
        if self._local:
            write_durably(Path(self._full(path)), data)
        else:
            self._fs.pipe_file(self._full(path), data)

    def _read(self, path: str) -> bytes:
        try:
            data: Any = self._fs.cat_file(self._full(path))
        except FileNotFoundError as error:
            raise Gone("the artifact has expired") from error
        return bytes(data)

    def _size(self, path: str) -> int:
        try:
            return int(self._fs.size(self._full(path)))
        except FileNotFoundError as error:
            raise Gone("the artifact has expired") from error

    def _delete(self, prefix: str) -> None:
        if self._fs.exists(self._full(prefix)):
            self._fs.rm(self._full(prefix), recursive=True)

    def _nonce(self) -> str:
        """The store's nonce, made if there is none. Of several who make one at the same time, one wins."""
        with suppress(Gone):
            return self._read(NONCE_FILE).decode()
        with suppress(FileExistsError):
            self._create(NONCE_FILE, secrets.token_hex(16).encode())
        return self._read(NONCE_FILE).decode()

    def _create(self, path: str, data: bytes) -> None:
        """Write a new file; raises FileExistsError if there is one."""
        if not self._local:
            self._fs.pipe_file(self._full(path), data, mode="create")
            return
        final = Path(self._full(path))
        if final.exists():
            raise FileExistsError(path)
        aside = write_aside(final, data)
        try:
            os.link(aside, final)
        finally:
            aside.unlink()


def _prefix(key: JobKey) -> str:
    return f"{key.tenant}/{key.id}"


def _digest_in(path: str) -> str:
    """The sha256 a path's name promises; refuses paths that lead out of the store."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "-" not in pure.stem:
        raise NotFound("no such artifact")
    return pure.stem.rpartition("-")[2]
