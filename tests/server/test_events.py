"""A job's life as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx

from server.client import SeenEvent, parse_events
from tests.server.conftest import Gateways, Hire, body, ended

Seen = tuple[str, SeenEvent]
Act = Callable[[], Awaitable[object]]


async def read(http: httpx.AsyncClient, job_id: str, last_id: str | None = None) -> list[Seen]:
    """Every event until the answer ends."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    answer = await http.get(f"/v1/generations/{job_id}/events", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    return list(parse_events(iter(answer.text.splitlines())))


async def read_after(
    http: httpx.AsyncClient, job_id: str, act: Callable[[], Awaitable[object]]
) -> list[Seen]:
    """As `read`, and does something once the stream is open."""
    lines: list[str] = []
    async with http.stream("GET", f"/v1/generations/{job_id}/events") as answer:
        async for line in answer.aiter_lines():
            lines.append(line)
            if line == "event: queued":
                await act()
    return list(parse_events(iter(lines)))


async def test_every_step_in_order_and_one_end(http: httpx.AsyncClient, hire: Hire) -> None:
    await http.put("/v1/generations/a", json=body())
    events = await read_after(http, "a", hire)
    assert [event.name for _, event in events] == ["queued", "started", *["step"] * 4, "completed"]
    # `queued` is made on the spot and has no number; the others count up from 1.
    assert [seen_id for seen_id, _ in events] == ["", "1", "2", "3", "4", "5", "6"]
    assert events[0][1].data["position"] == 0
    assert [event.data["index"] for _, event in events if event.name == "step"] == [0, 1, 2, 3]


async def test_the_end_carries_links_not_paths(http: httpx.AsyncClient, hire: Hire) -> None:
    await hire()
    await http.put("/v1/generations/a", json=body())
    _, last = (await read(http, "a"))[-1]
    [artifact] = last.data["artifacts"]
    assert "path" not in artifact
    assert (await http.get(artifact["url"])).status_code == 200
    assert last.data["compute"]["budget"] == 1.0


async def test_replay_from_an_id_and_204_after_the_last(http: httpx.AsyncClient, hire: Hire) -> None:
    await hire()
    await http.put("/v1/generations/a", json=body())
    whole = await read(http, "a")
    await ended(http, "a")
    numbered = [event for event in whole if event[0]]
    assert await read(http, "a", "0") == numbered
    assert await read(http, "a", "3") == numbered[3:]
    after_all = await http.get("/v1/generations/a/events", headers={"Last-Event-ID": numbered[-1][0]})
    assert (after_all.status_code, after_all.content) == (204, b"")


async def test_a_job_cancelled_while_queued_tells_so(http: httpx.AsyncClient) -> None:
    await http.put("/v1/generations/a", json=body())
    events = await read_after(http, "a", lambda: http.post("/v1/generations/a/cancel"))
    assert [event.name for _, event in events] == ["queued", "cancelled"]


async def test_comments_while_nothing_happens(serve: Gateways) -> None:
    url = await serve(heartbeat_s=0.05)
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        await http.put("/v1/generations/a", json=body())
        async with http.stream("GET", "/v1/generations/a/events") as answer, asyncio.timeout(5):
            comments = await _first(answer, ":", 3)
    assert comments == [": still here"] * 3


async def test_draining_lets_go_of_streams(serve: Gateways) -> None:
    """A stream of a job that waits for ever ends when the gateway is told to stop, without a final event."""
    url = await serve()
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        await http.put("/v1/generations/a", json=body())
        events = await read_after(http, "a", serve.stop)
    assert [event.name for _, event in events] == ["queued"]


async def test_bad_and_unknown_ids(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/generations/nobody/events")).status_code == 404
    await http.put("/v1/generations/a", json=body())
    answer = await http.get("/v1/generations/a/events", headers={"Last-Event-ID": "x"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "Last-Event-ID")


async def _first(answer: httpx.Response, start: str, count: int) -> list[str]:
    """The first `count` lines that begin with `start`."""
    found: list[str] = []
    async for line in answer.aiter_lines():
        if line.startswith(start):
            found.append(line)
        if len(found) == count:
            break
    return found
