"""Jobs to submit, and the queue's books checked against what really stands in Redis."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import Any

from protocol import keys
from protocol.events import TERMINAL_TYPES, Step
from protocol.jobqueue import Claim, JobKey, JobQueue, JobResult, NewJob
from protocol.jobs import GenerationInput, GenerationRequest
from protocol.receipts import Action, Totals
from protocol.wire import decode_entry

MODEL = "flux-tiny"
P = keys.prefix(0)
ENDED = {"completed", "failed", "cancelled"}
DONE = JobResult(
    totals=Totals(budget=1, granted=1, spent=1, full_tflops=1, tflops=1, other_tflops=0, nfe=4, wall_s=1)
)


def new_job(job_id: str, *, tenant: str = "anna", priority: int = 0, **changes: Any) -> NewJob:
    """A job of 4 steps, 60 MFLOP, 10 bytes."""
    request = GenerationRequest(model=MODEL, input=GenerationInput(prompt="a red apple"), priority=priority)
    fields: dict[str, Any] = {
        "fingerprint": "f" * 64,
        "model": MODEL,
        "digest": "d" * 64,
        "full_mflop": 100,
        "granted_mflop": 50,
        "units": 60,
        "mem_bytes": 10,
        "plan_steps": 4,
    }
    return NewJob(key=JobKey(tenant, job_id), request=request, **(fields | changes))


def step_event(index: int, attempt: int = 1) -> Step:
    return Step(
        sample=0, attempt=attempt, index=index, action=Action.FULL, blocks_run=8, tflops=0.1, spent=0.1
    )


async def claim(queue: JobQueue, worker: str = "w1", *, free: int = 1000, k: int = 1) -> Claim:
    """A claim with a fresh token."""
    return await queue.claim(worker, secrets.token_hex(16), [MODEL], free, k)


async def claim_ids(queue: JobQueue, worker: str = "w1", *, free: int = 1000, k: int = 1) -> list[str]:
    return [job.key.id for job in (await claim(queue, worker, free=free, k=k)).jobs]


async def expire_leases(queue: JobQueue) -> None:
    """Let the time of every lease have run out."""
    for job in await queue.redis.zrange(f"{P}leases", 0, -1):
        await queue.redis.zadd(f"{P}leases", {job: 1})


async def end_backoffs(queue: JobQueue) -> None:
    """Let every back-off be over, and put those jobs where claims find them."""
    for job in await queue.redis.zrange(f"{P}later", 0, -1):
        await queue.redis.zadd(f"{P}later", {job: 1})
    await queue.reap()


async def crash_worker(queue: JobQueue, worker: str = "w1") -> int:
    """A crash of the worker's engine, with the back-off already over."""
    count = await queue.abandon(worker)
    await end_backoffs(queue)
    return count


async def dump(queue: JobQueue) -> dict[bytes, Any]:
    """Every key with its content, to be compared."""
    names = sorted(await queue.redis.keys("*"))
    return {name: await queue.redis.dump(name) for name in names}


async def events_of(queue: JobQueue, job_id: str, tenant: str = "anna") -> list[str]:
    entries = await queue.redis.xrange(f"{P}ev:{tenant}/{job_id}")
    return [decode_entry(*entry).event.type for entry in entries]


async def check_books(queue: JobQueue) -> None:
    """Recompute what sets and counters must say from the jobs alone, and compare."""
    books = await _Books.read(queue)
    books.check_names()
    books.check_places()
    books.check_counters()
    await books.check_ends(queue)


class _Books:
    def __init__(
        self, jobs: dict[str, dict[str, str]], sets: dict[str, dict[str, float]], loads: dict[str, Any]
    ) -> None:
        self.jobs, self.sets, self.loads = jobs, sets, loads
        self.all_keys: list[str] = []

    @classmethod
    async def read(cls, queue: JobQueue) -> _Books:
        all_keys = [key.decode() for key in await queue.redis.keys(f"{P}*")]
        jobs: dict[str, dict[str, str]] = {}
        sets: dict[str, dict[str, float]] = {}
        loads: dict[str, Any] = {}
        for key in all_keys:
            name = key.removeprefix(P)
            kind = name.partition(":")[0]
            if kind in ("job", "load"):
                raw = await queue.redis.hgetall(key)
                fields = {field.decode(): value.decode(errors="replace") for field, value in raw.items()}
                (jobs if kind == "job" else loads)[name.partition(":")[2]] = fields
            elif kind == "held":
                sets[name] = {member.decode(): 0.0 for member in await queue.redis.smembers(key)}
            elif kind in ("ready", "turn", "solo", "later", "waiting", "leases", "mine", "dead", "ended"):
                pairs = await queue.redis.zrange(key, 0, -1, withscores=True)
                sets[name] = {member.decode(): score for member, score in pairs}
        books = cls(jobs, sets, loads)
        books.all_keys = all_keys
        return books

    def check_names(self) -> None:
        for key in self.all_keys:
            assert key.removeprefix(P).partition(":")[0] in keys.NAMES, key

    def check_places(self) -> None:
        where = Counter[tuple[str, str]]()
        for name, members in self.sets.items():
            if not name.startswith("turn"):
                for job in members:
                    where[job, name.partition(":")[0]] += 1
        for job, fields in self.jobs.items():
            inside = {kind: count for (name, kind), count in where.items() if name == job}
            assert all(count == 1 for count in inside.values()), (job, inside)
            kinds = set(inside) - {"mine", "dead", "ended"}
            assert "mine" in inside, job
            if fields["state"] == "queued":
                assert kinds in ({"waiting", "ready"}, {"waiting", "solo"}, {"waiting", "later"}), (
                    job,
                    kinds,
                )
                assert "token" not in fields, job
            elif fields["state"] == "running":
                assert kinds == {"leases", "held"}, (job, kinds)
                assert fields["token"], job
                assert job in self.sets[f"held:{fields['worker']}"], job
            else:
                assert kinds == set(), (job, kinds)
                assert "ended" in inside, job
        assert {job for job, _ in where} <= set(self.jobs)
        ready = {name.split(":", 1)[1] for name in self.sets if name.startswith("ready:")}
        turns = {
            f"{name.split(':', 1)[1]}:{flow}"
            for name, members in self.sets.items()
            if name.startswith("turn:")
            for flow in members
        }
        assert ready == turns

    def check_counters(self) -> None:
        expected: dict[str, Counter[str]] = {}
        for fields in self.jobs.values():
            sums = expected.setdefault(fields["model"], Counter())
            stem = {"queued": "", "running": "running_"}.get(fields["state"])
            if stem is not None:
                sums[f"{stem}jobs"] += 1
                sums[f"{stem}units"] += int(fields["units"])
        for model, sums in expected.items():
            counted = {name: int(value) for name, value in self.loads.get(model, {}).items() if int(value)}
            assert counted == {name: value for name, value in sums.items() if value}, model

    async def check_ends(self, queue: JobQueue) -> None:
        for job, fields in self.jobs.items():
            entries = [decode_entry(*entry) for entry in await queue.redis.xrange(f"{P}ev:{job}")]
            assert [entry.seq for entry in entries] == list(range(1, int(fields.get("seq", 0)) + 1)), job
            ends = [entry.event.type for entry in entries if entry.event.type in TERMINAL_TYPES]
            if fields["state"] in ENDED:
                assert ends == [fields["state"]], (job, ends)
                assert entries[-1].event.type == fields["state"], job
                assert await queue.redis.pttl(f"{P}job:{job}") > 0, job
                assert await queue.redis.pttl(f"{P}ev:{job}") > 0, job
            else:
                assert ends == [], (job, ends)
                assert await queue.redis.pttl(f"{P}job:{job}") == -1, job
