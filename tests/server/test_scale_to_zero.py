"""What an autoscaler needs: a known model's jobs are taken with no worker alive, and weighed."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from protocol.jobqueue import Catalog, JobQueue
from protocol.states import WorkerState
from tests.server.conftest import Hire, body, ended


def gauge(text: str, name: str) -> float | None:
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return next((one.value for one in samples if one.name == name), None)


async def test_a_model_outlives_its_workers(http: httpx.AsyncClient, jobqueue: JobQueue, hire: Hire) -> None:
    """The only worker leaves; its model is still priced, its speed still told, a job waits for the next."""
    catalog = Catalog(jobqueue)
    await catalog.heartbeat("only", WorkerState.READY, ["flux-tiny"])
    await catalog.set_speed("flux-tiny", 2.5)
    await catalog.leave("only")
    assert await catalog.workers() == []

    answer = await http.post("/v1/generations", json=body())
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    text = (await http.get("/metrics")).text
    assert (gauge(text, "rheostat_outstanding_tflops") or 0) > 0
    assert gauge(text, "rheostat_model_tflops_per_second") == 2.5

    await hire()
    assert (await ended(http, answer.json()["id"]))["status"] == "completed"
    assert gauge((await http.get("/metrics")).text, "rheostat_outstanding_tflops") == 0
    assert gauge((await http.get("/metrics")).text, "rheostat_model_tflops_per_second") == 2.5


async def test_a_model_nobody_ever_served_has_no_series(http: httpx.AsyncClient, jobqueue: JobQueue) -> None:
    """By this the scaler's query knows a first start: Redis answers, and the model is not there."""
    await jobqueue.redis.flushall()
    text = (await http.get("/metrics")).text
    assert gauge(text, "rheostat_redis_up") == 1
    assert gauge(text, "rheostat_outstanding_tflops") is None
