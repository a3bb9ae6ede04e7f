"""The gateway's spans, sent to a real receiver."""

from __future__ import annotations

import httpx
import pytest

from protocol.jobqueue import JobQueue
from protocol.tracing import TraceContext
from tests.plugins.otlp import Receiver
from tests.plugins.valkey import free_port
from tests.server.conftest import Gateways, Hire, body

CALLERS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


async def trace_of(jobqueue: JobQueue, job_id: str) -> str | None:
    raw = await jobqueue.redis.hget(f"rh:{{0}}:job:public/{job_id}", "trace")
    return None if raw is None else raw.decode()


async def test_a_job_carries_its_place_in_a_new_trace(
    serve: Gateways, jobqueue: JobQueue, otlp: Receiver
) -> None:
    async with httpx.AsyncClient(base_url=await serve(tracing={"endpoint": otlp.url}), timeout=20) as http:
        await http.put("/v1/generations/one", json=body())
        await http.get("/v1/generations/one")
        refused = await http.post("/v1/generations", json=body(job={"model": "nothing"}))
    await serve.close()
    assert refused.status_code == 422
    made, failed = otlp.named("admission")
    place = TraceContext.parse(await trace_of(jobqueue, "one"))
    assert place == TraceContext(made.trace_id, made.span_id, True)
    told = {name: made.attributes[f"rheostat.{name}"] for name in ("model", "budget", "outcome", "job_id")}
    assert told == {"model": "flux-tiny", "budget": 1.0, "outcome": "ok", "job_id": "one"}
    assert (failed.attributes["error.type"], failed.failed) == ("unknown_model", False)
    assert {span.name for span in otlp.spans} == {
        "admission", "PUT /v1/generations/{job_id}", "POST /v1/generations",
    }  # fmt: skip
    assert "two red apples" not in str(otlp.spans)


@pytest.mark.parametrize(("flags", "told"), [("01", True), ("00", False)])
async def test_the_callers_trace_goes_on(
    serve: Gateways, jobqueue: JobQueue, otlp: Receiver, flags: str, told: bool
) -> None:
    """What the caller does not sample is carried on and not told."""
    async with httpx.AsyncClient(base_url=await serve(tracing={"endpoint": otlp.url}), timeout=20) as http:
        headers = {"traceparent": f"{CALLERS}-{flags}"}
        await http.put("/v1/generations/one", json=body(), headers=headers)
    await serve.close()
    place = TraceContext.parse(await trace_of(jobqueue, "one"))
    assert place is not None
    assert (place.trace_id, place.sampled) == (CALLERS.split("-")[1], told)
    assert bool(otlp.spans) == told


async def test_off_is_the_default(serve: Gateways, jobqueue: JobQueue) -> None:
    async with httpx.AsyncClient(base_url=await serve(), timeout=20) as http:
        await http.put("/v1/generations/one", json=body(), headers={"traceparent": f"{CALLERS}-01"})
    assert await trace_of(jobqueue, "one") is None


async def test_a_receiver_that_is_away_stops_nobody(serve: Gateways, hire: Hire) -> None:
    await hire()
    away = f"http://127.0.0.1:{free_port()}"
    async with httpx.AsyncClient(base_url=await serve(tracing={"endpoint": away}), timeout=20) as http:
        answer = await http.put("/v1/generations/one", json=body())
    assert answer.status_code == 202
    await serve.close()
