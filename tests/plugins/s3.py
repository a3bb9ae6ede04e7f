"""A real S3 server, moto's, on a port of its own; each test has a bucket of its own."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from protocol.s3 import S3Settings
from tests.plugins.valkey import free_port


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Where the session's server listens."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until_it_answers(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Settings:
    """Settings that lead to the server, with keys where all AWS tools look for them."""
    for name, value in {"ACCESS_KEY_ID": "tester", "SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("PROFILE", "ENDPOINT_URL", "REGION", "DEFAULT_REGION", "SESSION_TOKEN"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    return S3Settings(endpoint_url=s3_endpoint, region="us-east-1")


@pytest.fixture
def bucket(s3_endpoint: str) -> str:
    """The URL of a place in a new bucket."""
    name = f"b-{uuid.uuid4()}"
    httpx.put(f"{s3_endpoint}/{name}", timeout=30).raise_for_status()
    return f"s3://{name}/some/where"


def _until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}/moto-api/", timeout=5)
        except httpx.HTTPError:
            assert process.poll() is None, "moto ended"
            assert time.monotonic() < deadline, "moto did not start"
            time.sleep(0.05)
        else:
            return
