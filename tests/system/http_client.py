"""Somebody who wants pictures and does not give up: every call is repeated until it is answered."""

from __future__ import annotations

from typing import Any

import httpx

from protocol.events import TERMINAL_TYPES
from tests.system.harness import LONG, MODEL, until

PATIENCE_S = 90.0


class Client:
    """Calls one gateway, whatever happens to it."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, timeout=5.0)

    async def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The first answer that is not about the system being away."""

        async def look() -> httpx.Response | None:
            try:
                response = await self._http.request(method, path, **request)
            except httpx.TransportError:
                return None
            return None if response.status_code >= 500 else response

        return await until(look, f"answer to {method} {path}", PATIENCE_S)

    async def put(self, job_id: str, seed: int, steps: int = LONG) -> None:
        given = {"prompt": "a red apple", "num_inference_steps": steps, "seed": seed}
        response = await self.call("PUT", f"/v1/generations/{job_id}", json={"model": MODEL, "input": given})
        assert response.status_code in (200, 202), response.text

    async def put_all(self, names: list[str], steps: int = LONG) -> None:
        for seed, name in enumerate(names):
            await self.put(name, seed, steps)

    async def state(self, job_id: str) -> dict[str, Any]:
        response = await self.call("GET", f"/v1/generations/{job_id}")
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def ended(self, job_id: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            state = await self.state(job_id)
            return state if state["status"] in TERMINAL_TYPES else None

        return await until(look, f"end of {job_id}", PATIENCE_S)

    async def reached(self, jobs: int, status: str | None = None) -> None:
        """Wait until there are so many jobs, or so many in that state."""

        async def look() -> bool:
            page = (await self.call("GET", "/v1/generations", params={"limit": 100})).json()
            return sum(status in (None, state["status"]) for state in page["data"]) >= jobs

        await until(look, f"{jobs} jobs {status or 'accepted'}", PATIENCE_S)

    async def ready(self) -> None:
        """Wait until the gateway calls itself ready."""

        async def look() -> bool:
            return (await self.call("GET", "/readyz")).status_code == 200

        await until(look, "readiness", PATIENCE_S)

    async def close(self) -> None:
        await self._http.aclose()
