"""One trace a job across real processes: a gateway, the queue, a worker whose engine is killed."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import httpx
import pytest

from server.valkey import EmbeddedValkey
from tests.plugins.otlp import Receiver, Seen
from tests.server.conftest import Gateways
from tests.system.conftest import MakeWorker
from tests.system.harness import LONG, MODEL, Desk, JobKey

CALLER = "00f067aa0ba902b7"
KINDS = ("admission", "queued", "attempt", "encode", "denoise", "decode", "store")


def body(steps: int) -> dict[str, Any]:
    given = {"prompt": "my secret apple", "seed": 7, "num_inference_steps": steps}
    return {"model": MODEL, "input": given, "compute_budget": 0.5}


async def send(url: str, job_id: str, trace_id: str, steps: int) -> JobKey:
    headers = {"traceparent": f"00-{trace_id}-{CALLER}-01"}
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        answer = await http.put(f"/v1/generations/{job_id}", json=body(steps), headers=headers)
    assert answer.status_code == 202, answer.text
    return JobKey("public", job_id)


def tree(otlp: Receiver, trace_id: str) -> dict[str, Seen]:
    """The spans of a trace with one attempt, by name."""
    return {span.name: span for span in otlp.spans if span.trace_id == trace_id}


@pytest.mark.timeout(180)
async def test_one_trace_a_job(
    own_valkey: EmbeddedValkey, own_desk: Desk, make_worker: MakeWorker, otlp: Receiver
) -> None:
    worker = make_worker(own_valkey.url, tracing__endpoint=otlp.url)
    gateways = Gateways(
        redis_url=own_valkey.url, artifacts=str(worker.artifacts), tracing={"endpoint": otlp.url}
    )
    await worker.ready(own_desk.catalog, 90.0)
    url = await gateways()
    calm, hurt = "a" * 32, "b" * 32
    await own_desk.assert_ended_once(await send(url, "calm", calm, 6))
    key = await send(url, "hurt", hurt, LONG)
    await own_desk.running(key, step=3)
    engine = worker.engine
    assert engine is not None
    engine.kill()
    await own_desk.assert_ended_once(key)
    await gateways.close()
    otlp.until(lambda: len(otlp.named("attempt", hurt)) == 2 and bool(otlp.named("attempt", calm)))

    spans = tree(otlp, calm)
    call, attempt = spans["PUT /v1/generations/{job_id}"], spans["attempt"]
    assert set(spans) == {call.name, *KINDS}
    assert (call.parent_id, call.attributes["http.response.status_code"]) == (CALLER, 202)
    assert spans["admission"].parent_id == call.span_id
    assert spans["admission"].attributes["rheostat.granted"] == 0.5
    assert {spans[name].parent_id for name in ("queued", "attempt")} == {spans["admission"].span_id}
    assert {spans[name].parent_id for name in KINDS[3:]} == {attempt.span_id}
    assert [event["index"] for _, event in spans["denoise"].events] == [0, 1, 2]
    assert attempt.attributes["rheostat.outcome"] == "completed"
    order = [spans[name] for name in ("queued", "encode", "denoise", "decode", "store")]
    assert all(one.ended_s <= next_.began_s + 0.02 for one, next_ in pairwise(order))
    assert spans["store"].ended_s <= attempt.ended_s

    first, second = otlp.named("attempt", hurt)
    assert (first.attributes["rheostat.outcome"], first.failed) == ("crashed", True)
    assert (second.links, second.attributes["rheostat.attempt"]) == ([first.span_id], 2)
    assert second.attributes["rheostat.outcome"] == "completed"
    assert "secret" not in str(otlp.spans)

    log = worker.log.read_text()
    assert "secret" not in log
    said = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (ended,) = [line for line in said if line.get("job_id") == "calm" and "completed" in line["message"]]
    assert (ended["trace_id"], ended["tenant"], ended["attempt"]) == (calm, "public", 1)
