"""Previews for a reader who lost the line and comes again."""

from __future__ import annotations

import asyncio
import secrets

import httpx

from protocol.events import Preview, Step
from protocol.jobqueue import JobQueue
from protocol.receipts import Action
from protocol.states import JobStatus
from server.client import parse_events
from tests.jobqueue.support import DONE
from tests.server.conftest import body


def preview(step: int, sample: int = 0) -> Preview:
    return Preview(sample=sample, attempt=1, step=step, b64_png="aGk=")


def evaluation(index: int) -> Step:
    return Step(
        sample=0,
        attempt=1,
        index=index,
        action=Action.FULL,
        blocks_run=8,
        tflops=0.1,
        spent=0.1 * (index + 1),
    )


async def seen_before_cut(http: httpx.AsyncClient, count: int, last_id: str) -> list[tuple[str, str, int]]:
    """(id, name, step) of the first `count` events; then the line is cut."""
    lines: list[str] = []
    headers = {"Last-Event-ID": last_id}
    async with http.stream("GET", "/v1/generations/a/events", headers=headers) as answer, asyncio.timeout(20):
        async for line in answer.aiter_lines():
            lines.append(line)
            if lines.count("") == count:
                break
    events = parse_events(iter(lines))
    return [(seen, event.name, event.data.get("step", event.data.get("index", -1))) for seen, event in events]


async def test_the_latest_of_each_sample_comes_again(http: httpx.AsyncClient, jobqueue: JobQueue) -> None:
    """After the numbered events, without an id: the next reconnect goes on from the last number."""
    await http.put("/v1/generations/a", json=body(n=2))
    [job] = (await jobqueue.claim("w", secrets.token_hex(16), ["flux-tiny"], 2**40, 1)).jobs
    events = [evaluation(0), preview(0), preview(0, 1), evaluation(1), preview(1), evaluation(2)]
    assert await jobqueue.publish(job.key, job.token, events) == "ok"
    shown = [("", "preview", 1), ("", "preview", 0)]
    assert await seen_before_cut(http, 4, "2") == [("3", "step", 1), ("4", "step", 2), *shown]
    assert await seen_before_cut(http, 2, "4") == shown
    await jobqueue.commit(job.key, job.token, JobStatus.COMPLETED, 0, DONE)
    replayed = (await http.get("/v1/generations/a/events", headers={"Last-Event-ID": "2"})).text
    assert "event: completed" in replayed
    assert "event: preview" not in replayed
