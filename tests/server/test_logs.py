"""What a gateway writes to its log."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx

from tests.server.conftest import Gateways, Hire, body, ended


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The gateway's own: the client in this process has a log as well."""
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in found if not line["logger"].startswith("http")]


async def test_every_answer_is_a_line_with_its_ids(serve: Gateways, hire: Hire, written: io.StringIO) -> None:
    await hire()
    async with httpx.AsyncClient(base_url=await serve(), timeout=20) as http:
        asked, named = body(prompt="my secret"), {"X-Request-ID": "mine"}
        job_id = (await http.post("/v1/generations", json=asked, headers=named)).json()["id"]
        await ended(http, job_id)
        await http.get("/livez")
        await http.get("/v1/generations/no-such-job?sig=hidden")
    made, *looks, missed = lines(written)
    assert made["message"] == "POST /v1/generations 202"
    assert (made["request_id"], made["job_id"], made["tenant"]) == ("mine", job_id, "public")
    assert made["seconds"] > 0
    assert {look["message"] for look in looks} == {"GET /v1/generations/{job_id} 200"}
    assert {look["job_id"] for look in looks} == {job_id}
    assert len({look["request_id"] for look in looks}) == len(looks)
    assert (missed["job_id"], missed["message"]) == ("no-such-job", "GET /v1/generations/{job_id} 404")
    for word in ("secret", "hidden"):
        assert word not in str(lines(written))
