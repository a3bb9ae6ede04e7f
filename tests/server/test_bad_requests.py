"""Every bad request gets the contract's error with the right `param`, makes no job, and hurts nobody."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from protocol.jobqueue import JobQueue
from tests.server.conftest import Hire, body, ended

SECRET = "xyzzy-must-not-come-back"
"""Stands in inputs; no answer may repeat it."""


@dataclass(frozen=True)
class Bad:
    """One bad request and what it must get."""

    name: str
    status: int
    param: str | None
    content: Any = None
    code: str | None = None
    method: str = "POST"
    path: str = "/v1/generations"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def raw(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def job(**changes: Any) -> bytes:
    return json.dumps(body(**changes)).encode()


def with_text(old: str, new: str) -> bytes:
    """The good body with a piece of its text replaced, for what `json.dumps` would not write."""
    text = json.dumps(body())
    assert old in text
    return raw(text.replace(old, new))


def top(**fields: Any) -> bytes:
    return job(job=fields)


async def _endless(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65_536 + 1):
        yield b" " * 65_536


def image(param: str, **fields: Any) -> Bad:
    """A bad body of the images route; the field that is wrong gives the row its name."""
    content = json.dumps({"prompt": "x", **fields}).encode()
    return Bad(f"images: {fields}", 422, param, content, path="/v1/images/generations")


TOO_LONG = "9" * 5000
NESTED = "[" * 100_000 + "]" * 100_000

TABLE = [
    Bad("unknown field", 422, "colour", top(colour=SECRET), "unknown_field"),
    Bad("unknown input field", 422, "input.steps", job(steps=4), "unknown_field"),
    Bad("unknown budget field", 422, "compute_budget.x", top(compute_budget={"x": 1}), "unknown_field"),
    Bad("unknown model", 422, "model", top(model=SECRET), "unknown_model"),
    Bad("model with braces", 422, "model", top(model="a{b}:c"), "unknown_model"),
    Bad("model empty", 422, "model", top(model="")),
    Bad("model missing", 422, "model", raw('{"input": {"prompt": "x"}}'), "missing_field"),
    Bad("input missing", 422, "input", raw('{"model": "flux-tiny"}'), "missing_field"),
    Bad("size 63", 422, "input.width", job(width=63)),
    Bad("size 10**9", 422, "input.height", job(height=10**9)),
    Bad("size too many pixels", 422, "input.width", job(width=128, height=128)),
    Bad("size as text", 422, "input.width", job(width="64")),
    Bad("steps 0", 422, "input.num_inference_steps", job(num_inference_steps=0)),
    Bad("steps -1", 422, "input.num_inference_steps", job(num_inference_steps=-1)),
    Bad("steps 10**6", 422, "input.num_inference_steps", job(num_inference_steps=10**6)),
    Bad("steps as a fraction", 422, "input.num_inference_steps", job(num_inference_steps=4.5)),
    Bad("steps true", 422, "input.num_inference_steps", job(num_inference_steps=True)),
    Bad("seed 2**80", 422, "input.seed", job(seed=2**80)),
    Bad("seed -1", 422, "input.seed", job(seed=-1)),
    Bad("n 0", 422, "input.n", job(n=0)),
    Bad("n over the model's", 422, "input.n", job(n=5)),
    Bad("budget NaN", 422, "compute_budget", top(compute_budget=float("nan"))),
    Bad("budget 0", 422, "compute_budget", top(compute_budget=0)),
    Bad("budget 1.5", 422, "compute_budget", top(compute_budget=1.5)),
    Bad("budget half", 422, "compute_budget", top(compute_budget="half")),
    Bad("budget true", 422, "compute_budget", top(compute_budget=True)),
    Bad("fraction 2", 422, "compute_budget.fraction", top(compute_budget={"fraction": 2})),
    Bad("floor above", 422, "compute_budget", top(compute_budget={"fraction": 0.3, "floor": 0.5})),
    Bad("two ceilings", 422, "compute_budget", top(compute_budget={"fraction": 0.3, "tflops": 5})),
    Bad("mode", 422, "compute_budget.mode", top(compute_budget={"mode": SECRET})),
    Bad("method", 422, "compute_budget.methods", top(compute_budget={"methods": [SECRET]})),
    Bad("budget too small", 422, "compute_budget", top(compute_budget=0.01), "budget_too_small"),
    Bad("empty prompt", 422, "input.prompt", job(prompt="")),
    Bad("blank prompt", 422, "input.prompt", job(prompt="  \n")),
    Bad("1 MB prompt", 422, "input.prompt", job(prompt=SECRET * 45_000)),
    Bad("NaN as prompt", 422, "input.prompt", with_text('"two red apples"', "NaN")),
    Bad("Infinity as model", 422, "model", with_text('"flux-tiny"', "-Infinity")),
    Bad("number as prompt", 422, "input.prompt", job(prompt=17)),
    Bad("null prompt", 422, "input.prompt", job(prompt=None)),
    Bad("NUL in the prompt", 422, "input.prompt", job(prompt="a\x00b")),
    Bad("lone surrogate as value", 422, "input.prompt", with_text("two red apples", "\\ud800")),
    Bad("lone surrogate as key", 422, "input", with_text('"seed": 7', '"\\udfff": 7'), "unknown_field"),
    Bad("lone surrogate in metadata", 422, "metadata", top(metadata={"\ud800": "x"})),
    Bad("1e999", 422, "input.seed", with_text('"seed": 7', '"seed": 1e999')),
    Bad("1e999 as guidance", 422, "input.guidance_scale", with_text('"seed": 7', '"guidance_scale": 1e999')),
    Bad("5,000 digits", 422, "input.seed", with_text('"seed": 7', f'"seed": {TOO_LONG}')),
    Bad("duplicate keys", 400, "input.seed", with_text('"seed"', '"seed": 8, "seed"'), "duplicate_field"),
    Bad("100,000 brackets", 400, None, raw(NESTED), "malformed_json"),
    Bad("100,000 brackets inside", 400, None, with_text('"seed": 7', f'"seed": {NESTED}'), "malformed_json"),
    Bad("100 brackets", 400, "input.seed", with_text('"seed": 7', f'"seed": {"[" * 99}{"]" * 99}')),
    Bad("not JSON", 400, None, raw(f"model={SECRET}"), "malformed_json"),
    Bad("cut short", 400, None, raw('{"model": "flux-ti'), "malformed_json"),
    Bad("no UTF-8", 400, None, raw(b'{"model": "\xff\xfe"}'), "malformed_json"),
    Bad("UTF-16", 400, None, job().decode().encode("utf-16"), "malformed_json"),
    Bad("empty body", 400, None, raw(""), "malformed_json"),
    Bad("a list", 422, None, raw("[1, 2]")),
    Bad("a bare NaN", 422, None, raw("NaN")),
    Bad("guidance without negative prompt", 422, "input.guidance_scale", job(guidance_scale=3.5)),
    Bad("a field of another family", 422, "input.num_frames", job(num_frames=9)),
    Bad("priority 3", 422, "priority", top(priority=3)),
    Bad("deadline 0", 422, "deadline_s", top(deadline_s=0)),
    Bad("on_deadline", 422, "on_deadline", top(on_deadline="cancel")),
    Bad("webhook", 422, "webhook_url", top(webhook_url="https://example.org")),
    Bad("metadata nested", 422, "metadata.a", top(metadata={"a": {"b": 1}})),
    Bad("wrong content type", 415, None, job(), headers={"Content-Type": "text/plain"}),
    Bad("form", 415, None, raw("a=b"), headers={"Content-Type": "application/x-www-form-urlencoded"}),
    Bad("no content type", 415, None, job(), headers={}),
    Bad("wrong path", 404, None, job(), path="/v1/generation"),
    Bad("trailing slash", 404, None, job(), path="/v1/generations/"),
    Bad("wrong id", 404, "id", None, method="GET", path="/v1/generations/never-made"),
    Bad("impossible id", 404, "id", None, method="GET", path="/v1/generations/a%00b"),
    Bad("id with a brace", 422, "id", job(), method="PUT", path="/v1/generations/a%7Bb%7D"),
    Bad("id of 65", 422, "id", job(), method="PUT", path=f"/v1/generations/{'a' * 65}"),
    Bad("wrong method", 405, None, job(), method="DELETE"),
    Bad("patch", 405, None, job(), method="PATCH", path="/v1/generations/abc"),
    Bad("limit 0", 422, "limit", None, method="GET", path="/v1/generations?limit=0"),
    Bad("limit x", 422, "limit", None, method="GET", path="/v1/generations?limit=x"),
    Bad("after nobody", 404, "after", None, method="GET", path="/v1/generations?after=nobody"),
    Bad("after nothing", 404, "after", None, method="GET", path="/v1/generations?after="),
    Bad("include all", 422, "include", None, method="GET", path="/v1/generations/some?include=all"),
    Bad("Idempotency-Key too long", 422, "Idempotency-Key", job(),
        headers={"Content-Type": "application/json", "Idempotency-Key": "k" * 256}),
    image("size", size="63x64"),
    image("size", size="64"),
    image("size", size=64),
    image("style", style="vivid"),
    image("background", background="transparent"),
    image("output_format", output_format="gif"),
    image("complexity", complexity="high"),
    image("stream", stream=True),
    image("partial_images", partial_images=2),
    image("n", n=99),
    image("quality", quality="best"),
    image("prompt", prompt=float("nan")),
    image("seed", seed=2**80),
    image("compute_budget", compute_budget=0),
    image("model", model="a{b}:c"),
    Bad("unknown model's page", 404, "model", None, method="GET", path="/v1/models/a%7Bb%7D:c"),
    Bad("artifact of nobody", 404, "id", None, method="GET", path="/v1/artifacts/nobody/0"),
    Bad("artifact index", 404, "index", None, method="GET", path="/v1/artifacts/nobody/-1"),
]  # fmt: skip


async def test_every_bad_request(http: httpx.AsyncClient, jobqueue: JobQueue) -> None:
    before, problems = await _gauges(http), {}
    for bad in TABLE:
        answer = await http.request(bad.method, bad.path, content=bad.content, headers=bad.headers)
        if wrong := faults(bad, answer):
            problems[bad.name] = wrong
    assert problems == {}
    assert await _gauges(http) == before
    assert (await http.get("/v1/generations")).json()["data"] == []
    assert (await jobqueue.load("flux-tiny"))[:4] == (0, 0, 0, 0)


def faults(bad: Bad, answer: httpx.Response) -> list[str]:
    """What is wrong with the answer to a bad request."""
    error = answer.json()["error"]
    checks = {
        f"status {answer.status_code}": answer.status_code == bad.status,
        f"param {error['param']}": error["param"] == bad.param,
        f"code {error['code']}": bad.code in (None, error["code"]),
        "shape": set(error) == {"code", "message", "param", "type", "details"},
        "no request id": "x-request-id" in answer.headers,
        "input echoed": SECRET not in answer.text,
        "stack trace": "Traceback" not in answer.text,
        "too long": len(answer.text) < 2000,
    }
    return [name for name, holds in checks.items() if not holds]


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 34
    assert len({bad.name for bad in TABLE}) == len(TABLE)


async def test_a_chunked_body_over_the_limit(http: httpx.AsyncClient) -> None:
    """Without Content-Length the size shows only as it comes."""
    answer = await http.post(
        "/v1/generations", content=_endless(9 * 2**20), headers={"Content-Type": "application/json"}
    )
    assert "content-length" not in answer.request.headers
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


async def test_a_declared_body_over_the_limit(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/generations", content=b" " * (9 * 2**20), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


async def test_the_next_good_one_is_served(http: httpx.AsyncClient, hire: Hire) -> None:
    """All bad requests on one connection, then a good one on the same."""
    for bad in TABLE:
        await http.request(bad.method, bad.path, content=bad.content, headers=bad.headers)
    await hire()
    answer = await http.post("/v1/generations", json=body())
    assert answer.status_code == 202
    assert (await ended(http, answer.json()["id"]))["status"] == "completed"


async def test_what_is_allowed_is_said(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/generations", json=body(width=63))
    assert answer.json()["error"]["details"]["allowed"] == [56, 64]
    answer = await http.post("/v1/generations", json={**body(), "model": "other"})
    assert answer.json()["error"]["details"]["allowed"] == ["flux-tiny"]
    answer = await http.post("/v1/generations", json=body(job={"colour": 1}))
    assert "compute_budget" in answer.json()["error"]["details"]["allowed"]


async def _gauges(http: httpx.AsyncClient) -> list[str]:
    text = (await http.get("/metrics")).text
    return [line for line in text.splitlines() if line.startswith(("rheostat_queue", "rheostat_outstanding"))]
