"""What the failure tests are made of: real processes to hurt, and a view of the jobs that must survive it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from protocol import keys, wire
from protocol.catalog import CatalogEntry
from protocol.cost import price
from protocol.cost.memory import sample_bytes
from protocol.errors import Unavailable
from protocol.events import TERMINAL_TYPES, Event
from protocol.jobqueue import Catalog, JobKey, JobQueue, JobRecord, NewJob, QueueSettings
from protocol.jobs import GenerationRequest
from protocol.plan import make_plan
from protocol.resolve import resolve
from protocol.states import JobStatus, WorkerState

TENANT = "tester"
ANONYMOUS = "public"
"""The tenant of callers without a key."""
MODEL = "plain"
LEASE_TTL_S = 2.0
BACKOFF_S = 0.2
QUEUE = QueueSettings(lease_ttl_ms=int(LEASE_TTL_S * 1000), backoff_ms=int(BACKOFF_S * 1000))
LONG = 150
"""Steps of a job that is still running when it is hurt: about a second on one core."""

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_of_queue(part: str) -> dict[str, str]:
    """The environment that gives a `SERVER` or a `WORKER` our quick leases."""
    told = QUEUE.model_dump(include={"lease_ttl_ms", "backoff_ms"})
    return {f"RHEOSTAT_{part}_QUEUE__{name.upper()}": str(value) for name, value in told.items()}


async def until(look: Callable[[], Awaitable[T | None]], what: str, timeout_s: float = 30.0) -> T:
    """Poll until `look` gives something true; its answer."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := await look():
            return found
        await asyncio.sleep(0.005)
    raise AssertionError(f"no {what} within {timeout_s} s")


class Program:
    """`python -m ...` in a session of its own, its log in a file."""

    def __init__(self, arguments: list[str], log: Path, **environment: str) -> None:
        self.arguments = arguments
        self.log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        assert self._process is not None, "started"
        return self._process.poll()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment,
                start_new_session=True,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def ask(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, timeout_s: float = 30.0) -> int:
        """Wait for its end; the exit code."""

        async def look() -> tuple[int] | None:
            return None if self.exit_code is None else (self.exit_code,)

        (code,) = await until(look, f"end of {self.arguments}", timeout_s)
        return code

    async def says(self, *texts: str, timeout_s: float = 30.0) -> None:
        """Wait until a line of the log holds all of `texts`."""

        async def look() -> bool:
            return any(all(text in line for text in texts) for line in self.log.read_text().splitlines())

        await until(look, f"{texts} in {self.log}", timeout_s)

    def family(self) -> list[psutil.Process]:
        """The process and all its descendants, the eldest first."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the whole family for a while."""
        family = self.family()
        for process in family:
            process.suspend()
        yield
        for process in family:
            process.resume()

    def close(self) -> None:
        """Kill it if it lives; its descendants notice that, stopped or not: SIGKILL needs nobody's help."""
        if self._process is not None and self.exit_code is None:
            self.kill()


class WorkerProgram(Program):
    """A worker: supervisor, zygote, engine."""

    def __init__(
        self,
        folder: Path,
        redis_url: str,
        checkpoints: Path,
        name: str,
        *,
        artifacts: Path | None = None,
        **settings: str,
    ) -> None:
        self.artifacts = artifacts or folder / "artifacts"
        told = {"models": MODEL, "dtype": "float32", **settings}
        super().__init__(
            [
                "workers",
                "worker",
                "--redis-url",
                redis_url,
                "--artifacts",
                str(self.artifacts),
                "--name",
                name,
            ],
            folder / f"{name}.log",
            RHEOSTAT_CHECKPOINTS=str(checkpoints),
            **{f"RHEOSTAT_WORKER_{key.upper()}": value for key, value in told.items()},
            **settings_of_queue("WORKER"),
        )
        self.name = name

    @property
    def engine(self) -> psutil.Process | None:
        """The engine process, if one lives: the zygote's child."""
        family = self.family()
        return family[2] if len(family) > 2 else None

    async def ready(self, catalog: Catalog, timeout_s: float = 40.0) -> float:
        """Wait until it says it is ready; when that was."""

        async def look() -> bool:
            assert self.exit_code is None, self.log.read_text()
            return any(
                one.worker == self.name and one.state is WorkerState.READY for one in await catalog.workers()
            )

        await until(look, f"ready {self.name}; its log:\n{self.log.read_text()}", timeout_s)
        return time.monotonic()


@dataclass
class Desk:
    """Where jobs are handed in and looked after, as a gateway would: submit, look, reap."""

    queue: JobQueue
    catalog: Catalog

    @classmethod
    async def open(cls, redis_url: str) -> Desk:
        queue = await JobQueue.connect(redis_url, QUEUE)
        return cls(queue, Catalog(queue))

    async def entry(self) -> CatalogEntry:
        entry = await self.catalog.get(MODEL)
        assert entry is not None, "the worker has entered its model"
        return entry

    async def submit(self, job_id: str, *, seed: int = 0, steps: int = LONG, n: int = 1) -> JobKey:
        """A new job of the tester's; `job_id` is only how its id begins."""
        entry = await self.entry()
        given = {"prompt": "a red apple", "seed": seed, "num_inference_steps": steps, "n": n}
        request = resolve(GenerationRequest.model_validate({"model": MODEL, "input": given}), entry)
        submission = await self.queue.submit(
            new_job(JobKey(TENANT, f"{job_id}-{secrets.token_hex(3)}"), request, entry)
        )
        assert submission.outcome in ("ok", "replay")
        return submission.key

    async def record(self, key: JobKey) -> JobRecord:
        record = await self.queue.get(key)
        assert record is not None, key
        return record

    async def ended(self, key: JobKey, timeout_s: float = 40.0) -> JobRecord:
        """Wait for the job's end."""

        async def look() -> JobRecord | None:
            record = await self.record(key)
            return record if record.status.ended else None

        return await until(look, f"end of {key}", timeout_s)

    async def running(self, key: JobKey, step: int = 1, attempt: int = 1) -> None:
        """Wait until the job has done so many steps of that attempt."""

        async def look() -> bool:
            record = await self.record(key)
            assert not record.status.ended, f"{key} ended before it could be hurt"
            return record.status is JobStatus.RUNNING and record.attempts == attempt and record.step >= step

        await until(look, f"step {step} of {key}")

    async def events(self, key: JobKey) -> list[Event]:
        """Everything on the job's stream."""
        base = keys.prefix(keys.partition_of(key.tenant, QUEUE.partitions))
        entries = await self.queue.redis.xrange(keys.key(base, "ev", str(key)))
        return [wire.decode_entry(entry_id, fields).event for entry_id, fields in entries]

    async def assert_ended_once(self, key: JobKey, status: JobStatus = JobStatus.COMPLETED) -> JobRecord:
        """One end, told once, and nothing after it."""
        record = await self.ended(key)
        assert record.status is status, record.error
        told = [event.type for event in await self.events(key)]
        assert [kind for kind in told if kind in TERMINAL_TYPES] == [status.value]
        assert told[-1] == status.value
        return record

    async def assert_nothing_left(self) -> None:
        """No lease, no load, no reservation stays when all jobs have ended."""
        load = await self.queue.load(MODEL)
        assert (load.queued_jobs, load.queued_units, load.running_jobs, load.running_units) == (0, 0, 0, 0)

    async def reap_until(self, closing: asyncio.Event) -> None:
        """What every gateway does each second; goes on while Redis is away."""
        while not closing.is_set():
            with contextlib.suppress(Unavailable):
                await self.queue.reap()
            await asyncio.sleep(0.25)

    async def close(self) -> None:
        await self.queue.close()


def new_job(key: JobKey, request: GenerationRequest, entry: CatalogEntry) -> NewJob:
    """The job a gateway would make of a resolved request."""
    cost, plan = price(entry, request), make_plan(request, entry)
    granted = request.input.n * plan.granted_flop // 10**6
    return NewJob(
        key=key,
        request=request,
        fingerprint="0" * 64,
        model=entry.name,
        digest=entry.digest,
        full_mflop=cost.full_flop // 10**6,
        granted_mflop=granted,
        units=granted + cost.other_flop // 10**6,
        mem_bytes=request.input.n * sample_bytes(entry, request),
        plan_steps=request.input.n * plan.num_inference_steps,
    )
