"""Jobs in the native shape, through a real gateway, a real Valkey and a real client of the queue."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import pytest

from protocol.jobqueue import JobQueue
from tests.server.conftest import Gateways, Hire, body, ended
from tests.server.standin import BROKEN


async def test_a_job_from_post_to_picture(http: httpx.AsyncClient, hire: Hire) -> None:
    await hire()
    answer = await http.post("/v1/generations", json=body())
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == job["status_url"]
    assert (job["object"], job["model"], job["error"]) == ("generation", "flux-tiny", None)
    assert job["compute"]["budget"] == 1.0

    done = await ended(http, job["id"])
    assert done["status"] == "completed"
    assert done["progress"] == {"step": 4, "num_steps": 4, "fraction": 1.0}
    assert done["attempts"] == 1
    assert done["created_at"] <= done["started_at"] <= done["completed_at"]
    [artifact] = done["artifacts"]
    picture = await http.get(artifact["url"])
    assert picture.headers["content-type"] == "image/png"
    assert hashlib.sha256(picture.content).hexdigest() == artifact["sha256"]
    assert len(picture.content) == artifact["bytes"]


async def test_receipt_and_steps_on_request_only(http: httpx.AsyncClient, hire: Hire) -> None:
    await hire()
    job = await ended(http, (await http.post("/v1/generations", json=body())).json()["id"])
    assert "receipt" not in job
    whole = (await http.get(f"/v1/generations/{job['id']}/receipt")).json()
    included = (await http.get(f"/v1/generations/{job['id']}?include=steps")).json()
    assert included["receipt"] == whole
    assert len(whole["samples"][0]["steps"]) == 4
    assert sum(line["tflops"] for line in whole["samples"][0]["steps"]) == pytest.approx(
        job["compute"]["tflops"]
    )


async def test_a_failed_job_is_200_and_says_why(http: httpx.AsyncClient, hire: Hire) -> None:
    await hire()
    await http.put("/v1/generations/a", json=body(prompt=BROKEN))
    job = await ended(http, "a")
    assert job["status"] == "failed"
    assert job["error"] == {"code": "sample_failed", "message": "the sample failed", "param": None}
    receipt = await http.get("/v1/generations/a/receipt")
    assert (receipt.status_code, receipt.json()["error"]["code"]) == (410, "no_receipt")


async def test_a_receipt_is_not_there_before_the_end(http: httpx.AsyncClient) -> None:
    job = (await http.post("/v1/generations", json=body())).json()
    answer = await http.get(f"/v1/generations/{job['id']}/receipt")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_ended")


async def test_a_lesser_budget_is_granted_in_whole_steps(http: httpx.AsyncClient) -> None:
    # Of 4 steps, .35 pays for 1.4, so 1 step: .25 (contract).
    job = (await http.post("/v1/generations", json=body(job={"compute_budget": 0.35}))).json()
    assert job["compute"]["budget"] == 0.35
    assert job["compute"]["granted"] == pytest.approx(0.25, abs=1e-3)
    assert job["progress"]["num_steps"] == 1


async def test_put_twice_is_one_job_and_another_body_conflicts(http: httpx.AsyncClient, hire: Hire) -> None:
    first = await http.put("/v1/generations/mine", json=body())
    again = await http.put("/v1/generations/mine", json=body())
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["created_at"] == again.json()["created_at"]
    other = await http.put("/v1/generations/mine", json=body(seed=8))
    assert (other.status_code, other.json()["error"]["code"]) == (409, "id_reused")
    assert other.headers["x-should-retry"] == "false"
    await hire()
    await ended(http, "mine")
    assert (await http.put("/v1/generations/mine", json=body())).status_code == 200
    assert len((await http.get("/v1/generations")).json()["data"]) == 1


async def test_a_refused_put_takes_no_id(http: httpx.AsyncClient) -> None:
    assert (await http.put("/v1/generations/mine", json=body(width=63))).status_code == 422
    assert (await http.get("/v1/generations/mine")).status_code == 404
    assert (await http.put("/v1/generations/mine", json=body())).status_code == 202


async def test_fifty_puts_at_two_gateways_make_one_job(serve: Gateways, jobqueue: JobQueue) -> None:
    urls = [await serve(), await serve()]
    async with httpx.AsyncClient(timeout=20) as client:
        answers = await asyncio.gather(
            *(client.put(f"{urls[index % 2]}/v1/generations/one", json=body()) for index in range(50))
        )
    assert {answer.status_code for answer in answers} == {202}
    load = await jobqueue.load("flux-tiny")
    assert load.queued_jobs == 1


async def test_an_idempotency_key_attaches_to_its_job(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first = await http.post("/v1/generations", json=body(), headers=headers)
    again = await http.post("/v1/generations", json=body(), headers=headers)
    assert first.json()["id"] == again.json()["id"]
    other = await http.post("/v1/generations", json=body(seed=9), headers=headers)
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"


async def test_a_drawn_seed_replays_too(http: httpx.AsyncClient) -> None:
    """The fingerprint is taken before the seed is drawn, else the second PUT would conflict."""
    unseeded = body()
    del unseeded["input"]["seed"]
    assert (await http.put("/v1/generations/a", json=unseeded)).status_code == 202
    assert (await http.put("/v1/generations/a", json=unseeded)).status_code == 202


async def test_the_list_goes_back_page_by_page(http: httpx.AsyncClient) -> None:
    for number in range(5):
        await http.put(f"/v1/generations/job-{number}", json=body(seed=number))
        await asyncio.sleep(0.002)
    page = (await http.get("/v1/generations?limit=2")).json()
    assert (page["object"], page["has_more"]) == ("list", True)
    assert [job["id"] for job in page["data"]] == ["job-4", "job-3"]
    assert "receipt" not in page["data"][0]
    assert (page["first_id"], page["last_id"]) == ("job-4", "job-3")
    rest = (await http.get(f"/v1/generations?limit=10&after={page['last_id']}")).json()
    assert [job["id"] for job in rest["data"]] == ["job-2", "job-1", "job-0"]
    assert rest["has_more"] is False
    empty = (await http.get("/v1/generations?after=job-0")).json()
    assert (empty["data"], empty["first_id"], empty["has_more"]) == ([], None, False)


async def test_cancel_queued_running_and_ended(
    http: httpx.AsyncClient, hire: Hire, jobqueue: JobQueue
) -> None:
    await http.put("/v1/generations/queued", json=body())
    answer = await http.post("/v1/generations/queued/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert (await http.post("/v1/generations/queued/cancel")).status_code == 200
    assert (await jobqueue.load("flux-tiny"))[:4] == (0, 0, 0, 0)

    worker = await hire(held=True)
    await http.put("/v1/generations/running", json=body())
    await _until_running(http, "running")
    answer = await http.post("/v1/generations/running/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert answer.json()["cancel_requested"] is True
    assert (await ended(http, "running"))["status"] == "cancelled"

    worker.let_go()
    await http.put("/v1/generations/done", json=body())
    await ended(http, "done")
    answer = await http.post("/v1/generations/done/cancel")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_ended")
    assert (await http.post("/v1/generations/never/cancel")).status_code == 404
    assert (await jobqueue.load("flux-tiny"))[:4] == (0, 0, 0, 0)


async def test_a_full_queue_is_503_and_leaves_no_trace(
    serve: Gateways, jobqueue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await serve(queue={"max_queued_jobs": 2})
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        for number in range(2):
            assert (await client.put(f"/v1/generations/{number}", json=body())).status_code == 202
        before = await _everything(jobqueue)
        refused = await client.put("/v1/generations/one-too-many", json=body())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        assert 1 <= int(refused.headers["retry-after"]) <= 120
        assert (await client.post("/v1/generations", json=body())).status_code == 503
        assert await _everything(jobqueue) == before
        assert (await client.put("/v1/generations/0", json=body())).status_code == 202
        assert 'rheostat_shed_total{reason="queue_full"} 2.0' in (await client.get("/metrics")).text


async def test_a_model_is_accepted_that_nobody_serves_now(http: httpx.AsyncClient) -> None:
    job = (await http.post("/v1/generations", json=body())).json()
    assert (await http.get(f"/v1/generations/{job['id']}")).json()["status"] == "queued"


async def _until_running(http: httpx.AsyncClient, job_id: str) -> None:
    async with asyncio.timeout(10):
        while (await http.get(f"/v1/generations/{job_id}")).json()["status"] != "running":
            await asyncio.sleep(0.01)


async def _everything(jobqueue: JobQueue) -> dict[bytes, object]:
    """Every key with its content, as far as it does not tell the time."""
    found: dict[bytes, object] = {}
    async for key in jobqueue.redis.scan_iter():
        found[key] = await jobqueue.redis.dump(key)
    return found
