"""The audit: a share of finished jobs is run again at full compute while there is nothing else to do.

What a budget cost in quality so is measured on real requests. An audit needs what the worker has in its
memory anyway when a job ends, so nothing is stored for it and nothing is left behind: audits that wait or run
when the worker ends are lost, and no job ever knows.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL.Image import Image

from protocol import metrics
from protocol.artifacts import ArtifactStore
from protocol.budget import ComputeBudget
from protocol.catalog import CatalogEntry
from protocol.errors import RheostatError
from protocol.jobs import GenerationRequest
from protocol.metrics import budget_label
from protocol.plan import Plan, make_plan
from protocol.receipts import FLOP_PER_TFLOP
from protocol.records import JobKey
from workers.comparing import Outcome, distances, outcome_bytes, outcome_of
from workers.engine import Cancelled, Engine, EngineEvent, Failed, Finished, Result, StepDone
from workers.given import fetch_image
from workers.meter import Meter
from workers.roster import HeldJob
from workers.settings import AuditSettings

_LOG = logging.getLogger("rheostat.worker")
_ALL_HASHES = 2**64


@dataclass(frozen=True, slots=True)
class Audit:
    """One sample to make again. `log_ids` are its job's, `budget` the label of what it was granted."""

    request: GenerationRequest
    plan: Plan
    image: Image | None
    budget: str
    outcome: Outcome
    log_ids: Mapping[str, str]

    @property
    def bytes(self) -> int:
        pixels = 0 if self.image is None else 3 * self.image.width * self.image.height
        return pixels + outcome_bytes(self.outcome)


def chosen(key: JobKey, share: float) -> bool:
    """Whether a job is among the share: by its name alone, so that retries and other workers agree."""
    return _hash(key) < share * _ALL_HASHES


class Auditor:
    """Keeps audits that wait, and runs one at a time in the engine's background."""

    def __init__(
        self,
        settings: AuditSettings,
        entries: Mapping[str, CatalogEntry],
        *,
        engine: Engine,
        store: ArtifactStore,
        meter: Meter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._entries = entries
        self._engine = engine
        self._store = store
        self._meter = meter
        self._clock = clock
        self._waiting: deque[Audit] = deque()
        self._running: dict[str, Audit] = {}
        self._comparing: set[asyncio.Task[None]] = set()
        self._idle_since: float | None = None
        self._count = 0

    @property
    def turn_tflops(self) -> float:
        """At most what one turn of the audit that runs costs."""
        flop = sum(audit.plan.full_flop // audit.plan.evaluations for audit in self._running.values())
        return flop / FLOP_PER_TFLOP

    async def consider(self, job: HeldJob, result: Result) -> None:
        """Keep what came of a completed job if it is to be audited."""
        plan, claimed = job.running.plan, job.claimed
        full = plan.granted_flop >= plan.full_flop
        # Tokens have no distance from each other that says how good they are.
        if (
            full
            or not self._entries[job.model].takes_prompt
            or not claimed.audit
            or not chosen(claimed.key, self._settings.share)
        ):
            return
        sample = result.samples[_hash(claimed.key) % len(result.samples)]
        entry = self._entries[job.model]
        request = _at_full(claimed.request, sample.seed)
        try:
            image = await fetch_image(self._store, claimed.request)
            audit = Audit(
                request=request,
                plan=make_plan(request, entry),
                image=image,
                budget=budget_label(entry.nearest_budget(plan.granted)),
                outcome=await asyncio.to_thread(outcome_of, sample),
                log_ids=job.log_ids,
            )
        except Exception:  # the job has ended well, and nothing that happens now is to change that
            _LOG.exception("the job cannot be audited")
            return
        self._keep(audit)

    def look(self, *, busy: bool) -> None:
        """Begin an audit if one waits and it is time; between two turns only.

        Args:
            busy: whether the worker holds any job.
        """
        now = self._clock()
        if busy:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        idle = self._idle_since is not None and now - self._idle_since >= self._settings.after_idle_s
        if idle and self._waiting and not self._running:
            self._start(self._waiting.popleft())

    def hear(self, event: EngineEvent) -> None:
        """Take an event of the audit that runs; others are no business of ours."""
        audit = self._running.get(event.id)
        if audit is None:
            return
        if isinstance(event, StepDone):
            self._meter.step(event.id, event.model, event.line)
        elif isinstance(event, Finished | Failed | Cancelled):
            del self._running[event.id]
            self._meter.settle(event.id, "audit")
        if isinstance(event, Finished):
            task = asyncio.create_task(self._compare(audit, event.result))
            self._comparing.add(task)
            task.add_done_callback(self._comparing.discard)

    def stop(self) -> None:
        """Give up what waits and runs, and account for it."""
        self._waiting.clear()
        for name in self._running:
            self._engine.cancel(name)
            self._meter.settle(name, "audit")
        self._running.clear()

    def _keep(self, audit: Audit) -> None:
        self._waiting.append(audit)
        settings = self._settings
        while len(self._waiting) > settings.max_waiting or self._kept_bytes > settings.memory_bytes:
            self._waiting.popleft()

    @property
    def _kept_bytes(self) -> int:
        return sum(audit.bytes for audit in self._waiting)

    def _start(self, audit: Audit) -> None:
        self._count += 1
        name = f"audit-{self._count}"
        try:
            self._engine.add(audit.request, plan=audit.plan, key=name, image=audit.image, background=True)
        except (RheostatError, ValueError, LookupError) as error:
            _LOG.warning("the job cannot be audited: %s", error, extra=dict(audit.log_ids))
            return
        self._running[name] = audit

    async def _compare(self, audit: Audit, result: Result) -> None:
        latents, pixels = await asyncio.to_thread(distances, audit.outcome, result.samples[0])
        model = audit.request.model
        self._meter.add(metrics.AUDIT_DISTANCE, latents, model, audit.budget)
        if pixels is not None:
            self._meter.add(metrics.AUDIT_PIXEL_DISTANCE, pixels, model, audit.budget)
        told = {"budget": audit.budget, "latents": latents, "pixels": pixels}
        _LOG.info("the job was audited", extra={**audit.log_ids, **told})


def _at_full(request: GenerationRequest, seed: int) -> GenerationRequest:
    """One sample of the request with nothing left out, also where a model has learned to leave out blocks."""
    given = request.input.model_copy(update={"n": 1, "seed": seed})
    return request.model_copy(update={"compute_budget": ComputeBudget(methods=()), "input": given})


def _hash(key: JobKey) -> int:
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:8])
