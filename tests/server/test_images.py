"""OpenAI's own client, unmodified, against the images route; and what it does not ask for."""

from __future__ import annotations

import asyncio
import base64
import io

import httpx
import openai
import pytest
from PIL import Image

from protocol.jobqueue import JobQueue
from tests.server.conftest import Gateways, Hire, ended
from tests.server.standin import BROKEN, picture

PROMPT = {"prompt": "two red apples"}


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none-needed", max_retries=0)


async def test_openais_client_gets_an_image(url: str, hire: Hire) -> None:
    await hire()
    with client_of(url) as client:
        answer = await asyncio.to_thread(
            client.images.generate,
            model="flux-tiny",
            prompt="two red apples",
            size="64x64",
            n=2,
            extra_body={"seed": 7, "compute_budget": 0.5, "num_inference_steps": 8},
        )
    assert answer.data is not None
    pictures = [base64.b64decode(item.b64_json or "") for item in answer.data]
    assert pictures == [picture(7, 64, 64), picture(8, 64, 64)]
    assert Image.open(io.BytesIO(pictures[0])).size == (64, 64)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.size == "64x64"
    compute = answer.model_extra["compute"] if answer.model_extra else {}
    assert compute["granted"] == pytest.approx(0.5, abs=1e-3)


async def test_openais_client_lists_and_retrieves_models(url: str) -> None:
    with client_of(url) as client:
        listed = await asyncio.to_thread(lambda: [model.id for model in client.models.list()])
        one = await asyncio.to_thread(client.models.retrieve, "flux-tiny")
        with pytest.raises(openai.NotFoundError):
            await asyncio.to_thread(client.models.retrieve, "other")
    assert listed == ["flux-tiny"]
    assert (one.id, one.object, one.owned_by) == ("flux-tiny", "model", "rheostat")


async def test_openais_client_sees_our_errors(url: str) -> None:
    with client_of(url) as client, pytest.raises(openai.UnprocessableEntityError) as caught:
        await asyncio.to_thread(client.images.generate, prompt="x", size="1024x1024")
    assert (caught.value.param, caught.value.code) == ("size", "invalid_value")


async def test_links_instead_of_bytes(http: httpx.AsyncClient, hire: Hire) -> None:
    await hire()
    answer = await http.post(
        "/v1/images/generations", json={**PROMPT, "response_format": "url", "seed": 3, "size": "auto"}
    )
    [item] = answer.json()["data"]
    assert (await http.get(item["url"])).content == picture(3, 64, 64)


@pytest.mark.parametrize(
    ("quality", "granted", "echo"),
    [
        ("low", 0.25, "low"), ("medium", 0.5, "medium"), ("high", 1, "high"), ("xhigh", 1, "xhigh"),
        ("max", 1, "max"), ("auto", 1, "high"), ("standard", 0.5, "medium"), ("hd", 1, "high"),
        (None, 1, "high"),
    ],
)  # fmt: skip
async def test_quality_is_a_budget(
    http: httpx.AsyncClient, hire: Hire, quality: str | None, granted: float, echo: str
) -> None:
    await hire()
    answer = await http.post("/v1/images/generations", json={**PROMPT, "quality": quality})
    assert answer.json()["compute"]["granted"] == pytest.approx(granted, abs=1e-3)
    assert answer.json()["quality"] == echo


async def test_a_budget_wins_over_quality(http: httpx.AsyncClient, hire: Hire) -> None:
    await hire()
    answer = await http.post(
        "/v1/images/generations", json={**PROMPT, "quality": "low", "compute_budget": 0.5}
    )
    assert answer.json()["compute"]["granted"] == pytest.approx(0.5, abs=1e-3)
    assert answer.json()["quality"] is None


async def test_fields_taken_without_effect(http: httpx.AsyncClient, hire: Hire) -> None:
    await hire()
    extras = {
        "user": "u",
        "safety_identifier": "s",
        "moderation": "low",
        "background": "opaque",
        "stream": False,
    }
    answer = await http.post("/v1/images/generations", json={**PROMPT, **extras, "partial_images": 0})
    assert answer.status_code == 200


async def test_respond_async(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/images/generations", json=PROMPT, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == answer.json()["status_url"]
    assert answer.json()["object"] == "generation"


async def test_a_wait_that_runs_out_is_504_and_the_job_goes_on(serve: Gateways, hire: Hire) -> None:
    url = await serve(sync_wait_s=0.2)
    worker = await hire(held=True)
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        answer = await http.post("/v1/images/generations", json=PROMPT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "wait_timed_out")
        assert answer.headers["x-should-retry"] == "false"
        details = answer.json()["error"]["details"]
        assert details["status_url"].endswith(details["job_id"])
        worker.let_go()
        assert (await ended(http, details["job_id"]))["status"] == "completed"


async def test_a_gateway_that_stops_answers_who_waits(
    serve: Gateways, hire: Hire, jobqueue: JobQueue
) -> None:
    """Before its time to drain is over, and the job goes on elsewhere."""
    url = await serve(drain_s=0.4)
    worker = await hire(held=True)
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        waiting = asyncio.create_task(http.post("/v1/images/generations", json=PROMPT))
        async with asyncio.timeout(10):
            while not worker.claimed:
                await asyncio.sleep(0.01)
        await serve.stop()
        answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "wait_timed_out")
    assert (await jobqueue.load("flux-tiny")).running_jobs == 1


@pytest.mark.parametrize(("headers", "status"), [({}, "cancelled"), ({"Idempotency-Key": "k"}, "completed")])
async def test_a_caller_who_leaves(
    http: httpx.AsyncClient, hire: Hire, headers: dict[str, str], status: str
) -> None:
    """Cancels the job, unless an Idempotency-Key says that it will be asked for again."""
    worker = await hire(held=True)
    with pytest.raises(httpx.ReadTimeout):
        await http.post("/v1/images/generations", json=PROMPT, headers=headers, timeout=0.3)
    [job] = (await http.get("/v1/generations")).json()["data"]
    if status == "completed":
        worker.let_go()
    assert (await ended(http, job["id"]))["status"] == status


async def test_a_key_attaches_to_the_ended_job(http: httpx.AsyncClient, hire: Hire) -> None:
    worker = await hire()
    headers = {"Idempotency-Key": "k"}
    first = (await http.post("/v1/images/generations", json=PROMPT, headers=headers)).json()
    again = (await http.post("/v1/images/generations", json=PROMPT, headers=headers)).json()
    assert first == again
    assert len(worker.claimed) == 1


async def test_a_failed_job_is_told_and_not_sent_again(url: str, hire: Hire) -> None:
    """OpenAI's client would send any 500 three times; a failed job is final."""
    worker = await hire()
    insistent = openai.OpenAI(base_url=f"{url}/v1", api_key="none-needed", max_retries=2)
    with insistent as client, pytest.raises(openai.InternalServerError) as caught:
        await asyncio.to_thread(client.images.generate, prompt=BROKEN)
    assert caught.value.code == "sample_failed"
    assert len(worker.claimed) == 1


async def test_a_job_cancelled_by_others_is_told(http: httpx.AsyncClient, jobqueue: JobQueue) -> None:
    waiting = asyncio.create_task(http.post("/v1/images/generations", json=PROMPT))
    async with asyncio.timeout(10):
        while not (jobs := (await http.get("/v1/generations")).json()["data"]):
            await asyncio.sleep(0.01)
    await http.post(f"/v1/generations/{jobs[0]['id']}/cancel")
    answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cancelled")


async def test_no_model_named_where_there_are_two(
    http: httpx.AsyncClient, jobqueue: JobQueue, serve: Gateways
) -> None:
    from protocol.jobqueue import Catalog
    from tests.protocol.entries import flux_entry

    await Catalog(jobqueue).put(flux_entry(name="another"))
    answer = await http.post("/v1/images/generations", json=PROMPT)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "model")
    assert answer.json()["error"]["details"]["allowed"] == ["another", "flux-tiny"]
    url = await serve(default_model="another")
    async with httpx.AsyncClient(base_url=url) as other:
        accepted = await other.post(
            "/v1/images/generations", json=PROMPT, headers={"Prefer": "respond-async"}
        )
    assert accepted.json()["model"] == "another"
