"""The system to be watched: Valkey, one gateway, one worker, each a process that can be hurt."""

from __future__ import annotations

import asyncio
import itertools
import signal
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

from server.valkey import EmbeddedValkey
from tests.system.harness import Program, free_port, until

MODEL = "flux-tiny"
READY_S = 300.0
PROMPT = "two red apples on a blue background"


class WatchedSystem:
    """Ended on exit, whatever was done to it."""

    def __init__(self, folder: Path) -> None:
        self.valkey = EmbeddedValkey(folder / "valkey")
        self.gateway_port, self.worker_port = free_port(), free_port()
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.gateway_port}", timeout=30)
        self._folder = folder
        self._seeds = itertools.count()

    async def __aenter__(self) -> Self:
        url, artifacts = self.valkey.start(), str(self._folder / "artifacts")
        shared = ["--redis-url", url, "--artifacts", artifacts]
        self.gateway = Program(
            ["server", "server", "--port", str(self.gateway_port), "--ready-needs-worker", *shared],
            self._folder / "gateway.log",
            RHEOSTAT_SERVER_QUEUE__BACKOFF_MS="200",
        )
        self.worker = Program(
            ["workers", "worker", *shared],
            self._folder / "worker.log",
            RHEOSTAT_WORKER_MODELS=MODEL,
            RHEOSTAT_WORKER_DTYPE="float32",
            RHEOSTAT_WORKER_METRICS_PORT=str(self.worker_port),
            RHEOSTAT_WORKER_QUEUE__BACKOFF_MS="200",
        )
        self.gateway.start()
        self.worker.start()
        await self.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()
        self.gateway.close()
        self.worker.close()
        self.valkey.stop()

    @property
    def targets(self) -> dict[str, str]:
        """Prometheus' jobs."""
        return {
            "rheostat-gateway": f"127.0.0.1:{self.gateway_port}",
            "rheostat-worker": f"127.0.0.1:{self.worker_port}",
        }

    async def ready(self) -> None:
        """Wait until requests are served."""

        async def look() -> bool:
            with suppress(httpx.TransportError):
                return (await self.http.get("/readyz")).status_code == 200
            return False

        await until(look, "readiness", READY_S)

    async def submit(self, *, budget: Any = 1.0, steps: int = 28, **body: Any) -> str:
        """A job's id."""
        given = {"prompt": PROMPT, "seed": next(self._seeds), "num_inference_steps": steps}
        asked = {"model": MODEL, "input": given, "compute_budget": budget, **body}
        answer = await self.http.post("/v1/generations", json=asked)
        answer.raise_for_status()
        job_id: str = answer.json()["id"]
        return job_id

    async def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get(f"/v1/generations/{job_id}")).json()
        return found

    async def ended(self, job_id: str, timeout_s: float = READY_S) -> str:
        """Wait for a job's end; its status."""

        async def look() -> str | None:
            status: str = (await self.job(job_id))["status"]
            return status if status in ("completed", "failed", "cancelled") else None

        return await until(look, f"end of {job_id}", timeout_s)

    async def kill_engine_under(self, job_id: str) -> bool:
        """SIGKILL the engine when it has done a step of the job; False if the job ended before."""

        async def look() -> str | None:
            state = await self.job(job_id)
            if state["status"] == "running" and state["progress"]["step"] and self._engine() is not None:
                return "running"
            return "ended" if state["status"] in ("completed", "failed") else None

        if await until(look, f"a step of {job_id}", READY_S) == "ended":
            return False
        engine = self._engine()
        if engine is not None:
            engine.kill()
        attempts = (await self.job(job_id))["attempts"]

        async def noticed() -> bool:
            state = await self.job(job_id)
            return state["status"] != "running" or state["attempts"] != attempts

        await until(noticed, f"{job_id} taken back", READY_S)
        return True

    async def stop_worker(self) -> None:
        """As a rollout would."""
        self.worker.ask(signal.SIGTERM)
        await self.worker.ended(READY_S)

    def _engine(self) -> psutil.Process | None:
        with suppress(psutil.NoSuchProcess):
            family = self.worker.family()
            return family[2] if len(family) > 2 else None
        return None


async def each(every_s: float, seconds: float) -> Any:
    """Yield by the clock: 0, 1, 2, ... until `seconds` are over."""
    clock = asyncio.get_running_loop().time
    started = clock()
    for number in itertools.count():
        await asyncio.sleep(max(0.0, started + number * every_s - clock()))
        if clock() - started >= seconds:
            return
        yield number
