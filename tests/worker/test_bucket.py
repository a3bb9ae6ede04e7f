"""The loop with its artifacts in a bucket."""

from __future__ import annotations

import hashlib

import pytest

from protocol.artifacts import ArtifactStore
from protocol.s3 import S3Settings
from tests.worker.conftest import Bench


@pytest.fixture
def store(bucket: str, s3: S3Settings) -> ArtifactStore:
    return ArtifactStore(bucket, s3)


async def test_picture_and_receipt_are_in_the_bucket(bench: Bench, bucket: str, s3: S3Settings) -> None:
    key = await bench.desk.submit("job", steps=3)
    record = await bench.desk.assert_ended_once(key)
    (artifact,) = record.artifacts
    elsewhere = ArtifactStore(bucket, s3)
    data = await elsewhere.get(artifact.path)
    assert data.startswith(b"\x89PNG")
    assert hashlib.sha256(data).hexdigest() == artifact.sha256
    assert (await bench.receipt(key)).samples[0].output is not None
    assert not bench.artifacts.exists()
