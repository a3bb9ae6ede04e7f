"""A small client of the native routes, for the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from protocol.errors import RheostatError
from protocol.events import TERMINAL_TYPES

TIMEOUT_S = 30.0
EVENTS_TIMEOUT_S = 60.0
"""Longer than the gateway's pause between comments: silence beyond it is a dead line."""
MAX_RECONNECTS = 60
RECONNECT_PAUSE_S = 0.5

Json = dict[str, Any]


class ServerRefused(RheostatError):
    """The server answered with an error, or did not answer."""

    default_code = "server_refused"


class SeenEvent(NamedTuple):
    name: str
    data: Json


class Client:
    """One server. A context manager: leaving it closes its connections."""

    def __init__(self, url: str, key: str | None = None) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def is_rheostat(self) -> bool:
        """Whether one of us answers at this address."""
        try:
            found: bool = self._http.get("/livez", timeout=2.0).json()["server"] == "rheostat"
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False
        return found

    def submit(self, body: Json) -> Json:
        return self._json("POST", "/v1/generations", body)

    def job(self, job_id: str) -> Json:
        return self._json("GET", f"/v1/generations/{job_id}")

    def receipt(self, job_id: str) -> Json:
        return self._json("GET", f"/v1/generations/{job_id}/receipt")

    def cancel(self, job_id: str) -> Json:
        return self._json("POST", f"/v1/generations/{job_id}/cancel")

    def models(self) -> list[Json]:
        data: list[Json] = self._json("GET", "/v1/models")["data"]
        return data

    def download(self, url: str) -> bytes:
        return self._checked(self._request("GET", url)).content

    def events(self, job_id: str) -> Iterator[SeenEvent]:
        """Every event of the job until it ends; takes a broken line up again where it broke.

        Raises:
            ServerRefused: the server stayed away.
        """
        last_id = "0"
        for _ in range(MAX_RECONNECTS):
            try:
                for seen_id, event in self._stream(job_id, last_id):
                    last_id = seen_id or last_id
                    yield event
                    if event.name in TERMINAL_TYPES:
                        return
            except httpx.TransportError:
                pass
            time.sleep(RECONNECT_PAUSE_S)
        raise ServerRefused("the server's event stream kept breaking off")

    def _stream(self, job_id: str, last_id: str) -> Iterator[tuple[str, SeenEvent]]:
        path = f"/v1/generations/{job_id}/events"
        with self._http.stream(
            "GET", path, headers={"Last-Event-ID": last_id}, timeout=EVENTS_TIMEOUT_S
        ) as answer:
            if answer.is_error:
                answer.read()
                self._checked(answer)
            yield from parse_events(answer.iter_lines())

    def _json(self, method: str, path: str, body: Json | None = None) -> Json:
        answer: Json = self._checked(self._request(method, path, body)).json()
        return answer

    def _request(self, method: str, path: str, body: Json | None = None) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise ServerRefused(f"no answer from {self.url}: {error}") from error

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        """The answer, if it is a good one."""
        if answer.is_error:
            raise _refusal(answer)
        return answer


def parse_events(lines: Iterator[str]) -> Iterator[tuple[str, SeenEvent]]:
    """(id, event) of every server-sent event; the id is empty where none was sent."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield fields.get("id", ""), SeenEvent(fields.get("event", ""), json.loads(fields["data"]))
            fields = {}


def _refusal(answer: httpx.Response) -> ServerRefused:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return ServerRefused(f"the server answered {answer.status_code}")
    where = f"{error['param']}: " if error.get("param") else ""
    allowed = error.get("details", {}).get("allowed")
    hint = "" if allowed is None else f" (allowed: {json.dumps(allowed)})"
    return ServerRefused(f"{where}{error['message']}{hint}", code=error.get("code"))
