"""Keys, links, and who sees what."""

from __future__ import annotations

import hashlib

import httpx
import pytest
from pydantic import ValidationError

from protocol.errors import Unauthorized
from protocol.records import JobKey
from server.settings import ServerSettings
from server.signing import Signer
from tests.server.conftest import Gateways, Hire, body, ended

KEYS = {
    "alice": {"sha256": hashlib.sha256(b"key-a").hexdigest()},
    "bob": {"sha256": hashlib.sha256(b"key-b").hexdigest(), "models": ["other"]},
}
ALICE = {"Authorization": "Bearer key-a"}
BOB = {"Authorization": "Bearer key-b"}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "key_missing"),
        ({"Authorization": "Bearer"}, "key_missing"),
        ({"Authorization": "Basic key-a"}, "key_missing"),
        ({"Authorization": "Bearer wrong"}, "key_unknown"),
    ],
)
async def test_no_key_no_service(serve: Gateways, headers: dict[str, str], code: str) -> None:
    async with httpx.AsyncClient(base_url=await serve(api_keys=KEYS)) as http:
        for method, path in [
            ("GET", "/v1/models"),
            ("POST", "/v1/generations"),
            ("GET", "/v1/generations/a"),
        ]:
            answer = await http.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/metrics")).status_code == 200


async def test_a_key_sees_its_own_jobs_and_models(serve: Gateways) -> None:
    async with httpx.AsyncClient(base_url=await serve(api_keys=KEYS)) as http:
        assert (await http.put("/v1/generations/a", json=body(), headers=ALICE)).status_code == 202
        assert (await http.get("/v1/generations/a", headers=ALICE)).status_code == 200
        assert (await http.get("/v1/generations/a", headers=BOB)).status_code == 404
        refused = await http.put("/v1/generations/a", json=body(), headers=BOB)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
        assert (await http.get("/v1/models", headers=BOB)).json()["data"] == []
        assert (await http.get("/v1/models/flux-tiny", headers=BOB)).status_code == 403


async def test_a_link_works_without_a_key_and_at_any_gateway(serve: Gateways, hire: Hire) -> None:
    await hire()
    first, second = await serve(api_keys=KEYS), await serve(api_keys=KEYS)
    async with httpx.AsyncClient(headers=ALICE) as http, httpx.AsyncClient() as stranger:
        http.base_url = httpx.URL(first)
        await http.put("/v1/generations/a", json=body())
        [artifact] = (await ended(http, "a"))["artifacts"]
        link = artifact["url"].replace(first, second)
        assert (await stranger.get(link)).status_code == 200
        for spoilt in (
            link.replace("/a/0", "/a/1"),
            link.replace("tenant=alice", "tenant=bob"),
            link.replace("sig=", "sig=0"),
            link.replace("exp=", "exp=9"),
            link.replace("exp=", "exp=x"),
            f"{second}/v1/artifacts/a/0",
        ):
            assert (await stranger.get(spoilt)).status_code == 401, spoilt
        assert (await http.get("/v1/artifacts/a/0")).status_code == 200


def test_a_link_ends() -> None:
    key = JobKey("public", "a")
    link = httpx.URL(Signer(b"secret", ttl_s=-5).path(key, 0))
    with pytest.raises(Unauthorized, match="expired"):
        Signer(b"secret", ttl_s=60).check(key, 0, link.params["exp"], link.params["sig"])


def test_keys_are_needed_where_others_can_reach() -> None:
    with pytest.raises(ValidationError, match=r"0\.0\.0\.0 can be reached from other machines"):
        ServerSettings.load(host="0.0.0.0")
    assert ServerSettings.load(host="0.0.0.0", allow_anonymous=True).allow_anonymous
    assert ServerSettings.load(host="0.0.0.0", api_keys=KEYS).api_keys["bob"].models == ("other",)
    assert ServerSettings.load(host="::1").host == "::1"
