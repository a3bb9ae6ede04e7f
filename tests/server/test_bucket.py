"""A gateway whose artifacts are in a bucket: through it, or by the bucket's own links."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

from protocol.artifacts import ArtifactStore
from protocol.jobqueue import JobQueue
from protocol.records import JobKey
from protocol.s3 import S3Settings
from tests.plugins.valkey import free_port
from tests.server.conftest import Gateways, body, ended
from tests.server.standin import StandIn, picture


@pytest_asyncio.fixture
async def job(serve: Gateways, jobqueue: JobQueue, bucket: str, s3: S3Settings) -> AsyncIterator[Any]:
    """Runs a job whose artifacts go into the bucket; gives its answer of a gateway with these settings."""
    worker = StandIn(jobqueue, ArtifactStore(bucket, s3), ["flux-tiny"])
    await worker.start()

    async def run(**changes: Any) -> dict[str, Any]:
        url = await serve(artifacts=bucket, s3=s3.model_copy(update=changes))
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            accepted = (await http.put("/v1/generations/one", json=body())).json()
            return await ended(http, accepted["id"])

    yield run
    await worker.stop()


async def test_bytes_come_through_the_gateway(job: Any) -> None:
    artifact = (await job())["artifacts"][0]
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(artifact["url"])
    assert (answer.status_code, answer.content) == (200, picture(7, 64, 64))


async def test_callers_are_sent_on_to_the_bucket(job: Any, bucket: str, s3: S3Settings) -> None:
    artifact = (await job(presigned=True, presigned_ttl_s=60))["artifacts"][0]
    async with httpx.AsyncClient(timeout=30) as http:
        sent_on = await http.get(artifact["url"])
        assert (sent_on.status_code, sent_on.headers["cache-control"]) == (307, "no-store")
        assert sent_on.headers["location"].startswith(f"{s3.endpoint_url}/{bucket.removeprefix('s3://')}/")
        answer = await http.get(artifact["url"], follow_redirects=True)
        assert (answer.content, answer.headers["content-type"]) == (picture(7, 64, 64), "image/png")
        await ArtifactStore(bucket, s3).delete_prefix(JobKey("public", "one"))
        gone = await http.get(artifact["url"])
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "artifact_expired")


async def test_a_bucket_that_is_away_is_a_503(serve: Gateways, s3: S3Settings) -> None:
    away = s3.model_copy(update={"endpoint_url": f"http://127.0.0.1:{free_port()}", "connect_timeout_s": 1.0})
    url = await serve(artifacts="s3://nowhere/at-all", s3=away)
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["error"]["details"]["checks"]["artifacts"] == "the artifact store cannot be reached"
