"""What a bucket adds to the artifact store: links that expire, damage, and being away."""

from __future__ import annotations

import asyncio
import hashlib
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import ValidationError

from protocol.artifacts import ArtifactStore, NoDriver, Side
from protocol.errors import Gone, Unavailable
from protocol.events import Artifact
from protocol.records import JobKey
from protocol.s3 import Bucket, S3Settings
from tests.plugins.valkey import free_port

KEY = JobKey("public", "job-1")


def presigned(s3: S3Settings, **changes: object) -> S3Settings:
    return s3.model_copy(update={"presigned": True, **changes})


async def put(store: ArtifactStore) -> Artifact:
    return await store.put(KEY, 1, 0, b"picture", "image/png", 7)


async def overwrite(bucket: str, s3: S3Settings, path: str, data: bytes) -> None:
    """As somebody else would who can write to the bucket."""
    place = Bucket(bucket, s3)
    await asyncio.to_thread(place.fs.pipe_file, f"{place.root}/{path}", data)


async def test_a_damaged_object_is_gone(bucket: str, s3: S3Settings) -> None:
    store = ArtifactStore(bucket, s3)
    artifact = await put(store)
    await overwrite(bucket, s3, artifact.path, b"pictur3")
    with pytest.raises(Gone, match="damaged"):
        await store.get(artifact.path)


async def test_a_link_gives_the_bytes_to_who_holds_it(bucket: str, s3: S3Settings) -> None:
    store = ArtifactStore(bucket, presigned(s3, presigned_ttl_s=77))
    still = await store.put_side(KEY, 1, 0, Side("thumbnail", b"small", "image/webp", 8, 8))
    for file, data in ((await put(store), b"picture"), (still, b"small")):
        link = await store.link(file)
        assert link is not None
        query = parse_qs(urlsplit(link).query)
        assert query["X-Amz-Expires"] == ["77"]
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        async with httpx.AsyncClient(timeout=30) as http:
            answer = await http.get(link)
            part = await http.get(link, headers={"Range": "bytes=1-2"})
        assert (answer.content, answer.headers["content-type"]) == (data, file.media_type)
        assert (part.status_code, part.content) == (206, data[1:3])


async def test_links_lead_where_callers_reach_the_bucket(bucket: str, s3: S3Settings) -> None:
    settings = presigned(s3, public_endpoint_url="https://pictures.example.org", addressing_style="virtual")
    store = ArtifactStore(bucket, settings)
    link = urlsplit(str(await store.link(await put(ArtifactStore(bucket, s3)))))
    assert (link.scheme, link.netloc) == ("https", f"{urlsplit(bucket).netloc}.pictures.example.org")
    assert link.path.startswith("/some/where/public/job-1/1/0-")


async def test_no_link_to_what_is_not_there(bucket: str, s3: S3Settings) -> None:
    store = ArtifactStore(bucket, presigned(s3))
    artifact = await put(store)
    await overwrite(bucket, s3, artifact.path, b"pict")
    with pytest.raises(Gone, match="damaged"):
        await store.link(artifact)
    await store.delete_prefix(KEY)
    with pytest.raises(Gone, match="expired"):
        await store.link(artifact)


async def test_without_the_setting_bytes_go_through_us(bucket: str, s3: S3Settings) -> None:
    store = ArtifactStore(bucket, s3)
    assert await store.link(await put(store)) is None


async def test_a_bucket_that_is_away_is_no_mistake_of_ours() -> None:
    nobody = S3Settings(endpoint_url=f"http://127.0.0.1:{free_port()}", connect_timeout_s=1)
    digest = hashlib.sha256(b"picture").hexdigest()
    with pytest.raises(Unavailable) as caught:
        await ArtifactStore("s3://nobody/here", nobody).get(f"public/job-1/1/0-{digest}.png")
    assert (caught.value.code, caught.value.retry_after_s) == ("artifacts_unavailable", 5)


async def test_a_missing_bucket_takes_nothing(bucket: str, s3: S3Settings) -> None:
    with pytest.raises(Unavailable):
        await put(ArtifactStore("s3://there-is-no-such-bucket", s3))
    assert (await put(ArtifactStore(bucket, s3))).bytes == 7


async def test_many_at_once(bucket: str, s3: S3Settings) -> None:
    store = ArtifactStore(bucket, s3)
    stored = await asyncio.gather(
        *(store.put(KEY, 1, index, f"{index}".encode(), "image/png", index) for index in range(8))
    )
    assert [await store.get(one.path) for one in stored] == [b"%d" % index for index in range(8)]


@pytest.mark.parametrize(
    "wrong", [{"endpoint_url": "minio:9000"}, {"endpoint_url": "http://key:secret@minio"}, {"ttl": 1}]
)
def test_wrong_settings_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        S3Settings.model_validate(wrong)


def test_a_store_without_a_driver_is_refused() -> None:
    with pytest.raises(NoDriver, match="nowhere"):
        ArtifactStore("nowhere://bucket")
