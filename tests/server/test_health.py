"""Health, metrics, documentation, and what every answer carries."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import psutil
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from protocol.artifacts import ArtifactStore
from protocol.jobqueue import Catalog, JobQueue
from tests.plugins.valkey import MakeValkey
from tests.server.conftest import Gateways, Hire, body, ended


async def test_ready_and_alive(http: httpx.AsyncClient) -> None:
    assert (await http.get("/livez")).json() == {"status": "alive", "server": "rheostat"}
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"redis": "ok", "artifacts": "ok"})


async def test_ready_only_with_a_worker_where_asked(serve: Gateways, hire: Hire) -> None:
    async with httpx.AsyncClient(base_url=await serve(ready_needs_worker=True)) as http:
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert answer.json()["error"]["details"]["checks"]["worker"] == "none is ready"
        await hire()
        assert (await http.get("/readyz")).status_code == 200


async def test_another_artifact_store_is_not_ready(
    serve: Gateways, tmp_path: Path, jobqueue: JobQueue, store: ArtifactStore
) -> None:
    await store.ensure_shared(Catalog(jobqueue))
    async with httpx.AsyncClient(base_url=await serve(artifacts=str(tmp_path / "elsewhere"))) as http:
        answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert "not the one" in answer.json()["error"]["details"]["checks"]["artifacts"]


async def test_redis_goes_and_comes_back(serve: Gateways, make_valkey: MakeValkey, tmp_path: Path) -> None:
    valkey = make_valkey()
    quick = {"connection": {"timeout_s": 0.5, "connect_timeout_s": 0.5, "retries": 1}}
    url = await serve(redis_url=valkey.url, queue=quick, artifacts=str(tmp_path / "own"))
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        assert (await http.get("/readyz")).status_code == 200
        valkey.kill()
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
        for method, path, sent in [
            ("POST", "/v1/generations", body()),
            ("GET", "/v1/generations", None),
            ("GET", "/v1/models", None),
            ("POST", "/v1/images/generations", {"prompt": "x"}),
        ]:
            answer = await http.request(method, path, json=sent)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable"), path
            assert 1 <= int(answer.headers["retry-after"]) <= 120
        assert "rheostat_redis_up 0.0" in (await http.get("/metrics")).text
        valkey.start()
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/v1/models")).status_code == 200


async def test_a_scrape_does_not_wait_for_a_redis_that_hangs(
    serve: Gateways, make_valkey: MakeValkey, tmp_path: Path
) -> None:
    """Prometheus would give up after 10 s and call the gateway gone; unbounded, four tries take 20 s."""
    valkey = make_valkey()
    url = await serve(redis_url=valkey.url, artifacts=str(tmp_path / "own"))
    async with httpx.AsyncClient(base_url=url, timeout=40) as http:
        assert "rheostat_redis_up 1.0" in (await http.get("/metrics")).text
        hanging = psutil.Process(valkey.pid)
        hanging.suspend()
        try:
            started = time.monotonic()
            text = (await http.get("/metrics")).text
            took_s = time.monotonic() - started
        finally:
            hanging.resume()
    assert "rheostat_redis_up 0.0" in text
    assert took_s < 10


async def test_metrics_of_the_queue(http: httpx.AsyncClient, jobqueue: JobQueue, hire: Hire) -> None:
    await Catalog(jobqueue).set_speed("flux-tiny", 0.25)
    jobs = [(await http.post("/v1/generations", json=body(seed=seed))).json() for seed in range(3)]
    found = await _samples(http)
    assert found["rheostat_queue_jobs"] == 3
    assert found["rheostat_model_tflops_per_second"] == 0.25
    load = await jobqueue.load("flux-tiny")
    assert found["rheostat_outstanding_tflops"] == load.queued_units / 1e6 > 0
    assert found["rheostat_redis_up"] == 1
    await hire()
    for job in jobs:
        await ended(http, job["id"])
    found = await _samples(http)
    assert (found["rheostat_queue_jobs"], found["rheostat_outstanding_tflops"]) == (0, 0)


async def test_a_catalogued_model_stands_at_zero(http: httpx.AsyncClient) -> None:
    """What is not built yet too: nobody is degraded, no webhook is sent."""
    text = (await http.get("/metrics")).text
    for line in (
        'rheostat_degraded_total{model="flux-tiny"} 0.0',
        'rheostat_shed_total{reason="deadline_infeasible_now"} 0.0',
        'rheostat_webhooks_total{outcome="delivered"} 0.0',
        'rheostat_jobs_total{model="flux-tiny",status="cancelled"} 0.0',
    ):
        assert line in text


async def test_openmetrics_for_who_asks(http: httpx.AsyncClient) -> None:
    plain = await http.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    asked = await http.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert asked.text.endswith("# EOF\n")
    assert {family.name for family in parse_openmetrics(asked.text)} >= {"rheostat_shed", "rheostat_redis_up"}


async def test_requests_are_counted_by_template(http: httpx.AsyncClient) -> None:
    await http.get("/v1/generations/some-id")
    await http.get("/no/such/path")
    text = (await http.get("/metrics")).text
    assert 'rheostat_http_requests_total{code="404",route="/v1/generations/{job_id}"} 1.0' in text
    assert 'rheostat_http_requests_total{code="404",route="unmatched"} 1.0' in text
    assert "some-id" not in text


async def test_every_answer_has_a_request_id(http: httpx.AsyncClient) -> None:
    for path in ("/livez", "/v1/models", "/nowhere", "/docs"):
        assert re.fullmatch(r"req_[0-9a-f]{24}", (await http.get(path)).headers["x-request-id"])
    sent = await http.get("/livez", headers={"X-Request-ID": "abc-1"})
    assert sent.headers["x-request-id"] == "abc-1"
    odd = await http.get("/livez", headers={"X-Request-ID": "no spaces, please"})
    assert odd.headers["x-request-id"].startswith("req_")


async def test_the_interface_is_documented_without_the_internet(http: httpx.AsyncClient) -> None:
    page = (await http.get("/docs")).text
    assert "openapi.json" in page
    assert re.findall(r"https?://", page) == []
    schema = (await http.get("/openapi.json")).json()
    assert {"/v1/generations", "/v1/generations/{job_id}", "/v1/images/generations", "/readyz"} <= set(
        schema["paths"]
    )
    known = schema["components"]["schemas"]
    assert {"GenerationRequest", "GenerationInput", "ComputeBudget", "ImageRequest", "Error"} <= set(known)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            declared = {row["name"] for row in operation["parameters"] if row["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))
    for name in re.findall(r'"#/components/schemas/(\w+)"', (await http.get("/openapi.json")).text):
        assert name in known


async def test_models(http: httpx.AsyncClient) -> None:
    [model] = (await http.get("/v1/models")).json()["data"]
    assert model["id"] == "flux-tiny"
    assert model["min_budget"] == 0.0358  # 1 / 28, rounded up: asking for it must succeed
    for field in (
        "family",
        "modality",
        "sizes",
        "max_steps",
        "methods",
        "calibrated_budgets",
        "input_fields",
    ):
        assert field in model


async def _samples(http: httpx.AsyncClient) -> dict[str, float]:
    families = text_string_to_metric_families((await http.get("/metrics")).text)
    return {sample.name: sample.value for family in families for sample in family.samples}
