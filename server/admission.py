"""From a validated request to a job in the queue: price, plan, deadline, reservation.

Prices come from the catalog in Redis alone, so a model is accepted that no worker serves at the moment.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass, replace

from pydantic import JsonValue

from protocol.catalog import CatalogEntry
from protocol.cost import Price, price
from protocol.cost.memory import sample_bytes
from protocol.errors import Conflict, DeadlineInfeasible, DeadlineInfeasibleNow, InvalidRequest, QueueFull
from protocol.jobqueue import Catalog, JobQueue
from protocol.jobs import GenerationRequest
from protocol.plan import SOFT_ALLOWANCE, Plan, make_plan
from protocol.receipts import MFLOP_PER_TFLOP
from protocol.records import JobKey, ModelLoad, NewJob, Submission
from protocol.resolve import resolve
from protocol.start_images import reference_to
from server.auth import Caller
from server.metrics import GatewayMetrics
from server.tracing import GatewayTracing, Note

FLOP_PER_MFLOP = 10**6
MAX_RETRY_AFTER_S = 120
UNKNOWN_SPEED_RETRY_AFTER_S = 5


@dataclass(frozen=True)
class KeptImage:
    """The image a request starts from, once it is stored: what refers to it, and the SHA-256 of its bytes."""

    reference: str
    sha256: str

    @classmethod
    def of(cls, path: str, data: bytes) -> KeptImage:
        """Of what stands at `path` of the artifact store."""
        return cls(reference_to(path), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Quote:
    """What a request will cost and how it would run."""

    request: GenerationRequest
    entry: CatalogEntry
    price: Price
    plan: Plan

    @property
    def granted_mflop(self) -> int:
        return self.plan.granted_flop * self.request.input.n // FLOP_PER_MFLOP

    @property
    def full_mflop(self) -> int:
        return self.price.full_flop // FLOP_PER_MFLOP

    @property
    def asked(self) -> float:
        """The ceiling as a share of full compute."""
        return self.request.compute_budget.share_of(self.full_mflop)

    @property
    def other_mflop(self) -> int:
        return self.price.other_flop // FLOP_PER_MFLOP

    @property
    def reserved_mflop(self) -> int:
        """The most it may come to: the grant, the soft allowance if that holds, and what is not budgeted."""
        soft = self.request.compute_budget.mode == "soft"
        allowance = int(SOFT_ALLOWANCE * self.full_mflop) if soft else 0
        return min(self.full_mflop, self.granted_mflop + allowance) + self.other_mflop

    @property
    def floor_mflop(self) -> int:
        """The least that may be granted under load; without a floor, the grant itself."""
        floor = self.request.compute_budget.floor
        return self.granted_mflop if floor is None else int(floor * self.full_mflop)

    @property
    def seconds(self) -> float | None:
        """How long it takes on an idle worker, if the model's speed is known."""
        speed = self.entry.tflops_per_second
        work = (self.granted_mflop + self.other_mflop) / MFLOP_PER_TFLOP
        return work / speed if speed > 0 else None


class Admission:
    """Decides whether a request becomes a job."""

    def __init__(
        self, jobqueue: JobQueue, catalog: Catalog, metrics: GatewayMetrics, tracing: GatewayTracing
    ) -> None:
        self._jobqueue = jobqueue
        self._catalog = catalog
        self._metrics = metrics
        self._tracing = tracing

    async def submit(
        self,
        request: GenerationRequest,
        key: JobKey,
        caller: Caller,
        *,
        idempotency: tuple[str, str] | None = None,
        image: KeptImage | None = None,
    ) -> Submission:
        """Put the request into the queue, or find the job that already stands for it.

        Args:
            idempotency: the route and the hashed Idempotency-Key.
            image: what is kept of the request's own, if it has one: in Redis stands what refers to it, and
                equal images make equal requests.

        Raises:
            InvalidRequest, Forbidden: the request can never be served like this.
            Conflict, InvalidRequest: the id or the Idempotency-Key stands for another body.
            QueueFull, DeadlineInfeasibleNow: not now.
        """
        with self._tracing.admission() as note:
            return await self._submit(request, key, caller, idempotency, image, note)

    async def _submit(  # noqa: PLR0917 - all that `submit` was given
        self,
        request: GenerationRequest,
        key: JobKey,
        caller: Caller,
        idempotency: tuple[str, str] | None,
        image: KeptImage | None,
        note: Note,
    ) -> Submission:
        note.tell(model=request.model)
        quote = await self.quote(request, caller)
        note.tell(budget=quote.asked, granted=quote.plan.granted)
        if image is not None:
            quote = replace(quote, request=_starting_from(image.reference, quote.request))
            request = _starting_from(image.sha256, request)
        if not await self._jobqueue.stands(key, idempotency):
            await self._check_deadline(quote)
        job = replace(self._job(request, quote, key, idempotency), trace=note.traceparent, audit=caller.audit)
        submission = await self._jobqueue.submit(job)
        note.tell(outcome=submission.outcome, job_id=submission.key.id, tenant=key.tenant)
        if submission.outcome == "conflict":
            raise _conflict(idempotency is not None)
        if submission.outcome in ("full", "quota"):
            self._metrics.shed("queue_full")
            raise await self._full(quote.entry)
        return submission

    async def quote(self, request: GenerationRequest, caller: Caller) -> Quote:
        """Price and plan the request; changes nothing."""
        _refuse_what_is_to_come(request)
        entry = await self.entry(request.model)
        caller.require_model(entry.name)
        resolved = resolve(request, entry)
        return Quote(resolved, entry, price(entry, resolved), make_plan(resolved, entry))

    async def entry(self, model: str) -> CatalogEntry:
        """The model of this name; raises InvalidRequest, code `unknown_model`, if there is none."""
        entry = await self._catalog.get(model)
        if entry is None:
            known: list[JsonValue] = [entry.name for entry in await self._catalog.all()]
            raise InvalidRequest(
                "there is no such model", param="model", code="unknown_model", details={"allowed": known}
            )
        return entry

    def _job(
        self,
        request: GenerationRequest,
        quote: Quote,
        key: JobKey,
        idempotency: tuple[str, str] | None,
    ) -> NewJob:
        deadline_s = request.deadline_s
        return NewJob(
            key=key,
            request=quote.request,
            fingerprint=fingerprint(request),
            model=quote.entry.name,
            digest=quote.entry.digest,
            full_mflop=quote.full_mflop,
            granted_mflop=quote.granted_mflop,
            units=quote.reserved_mflop,
            mem_bytes=sample_bytes(quote.entry, quote.request),
            due_ms=None if deadline_s is None else int((time.time() + deadline_s) * 1000),
            plan_steps=quote.request.input.n * quote.plan.evaluations,
            floor_mflop=quote.floor_mflop,
            idempotency=idempotency,
        )

    async def _check_deadline(self, quote: Quote) -> None:
        """For new jobs only: one that stands is found again, whatever its deadline looks like by now."""
        deadline_s, seconds = quote.request.deadline_s, quote.seconds
        if deadline_s is None or seconds is None:
            return
        if seconds > deadline_s:
            raise DeadlineInfeasible(
                "this takes longer than deadline_s even on an idle system",
                param="deadline_s",
                details={"offer": _offer(quote, deadline_s, seconds)},
            )
        wait_s = outstanding_s(await self._jobqueue.load(quote.entry.name), quote.entry) or 0.0
        if wait_s + seconds > deadline_s:
            self._metrics.shed("deadline_infeasible_now")
            raise DeadlineInfeasibleNow(
                "under the present load this takes longer than deadline_s",
                param="deadline_s",
                details={"offer": _offer(quote, deadline_s - wait_s, wait_s + seconds)},
                retry_after_s=_whole_seconds(wait_s),
            )

    async def _full(self, entry: CatalogEntry) -> QueueFull:
        wait_s = outstanding_s(await self._jobqueue.load(entry.name), entry)
        return QueueFull(
            "the queue is full",
            retry_after_s=UNKNOWN_SPEED_RETRY_AFTER_S if wait_s is None else _whole_seconds(wait_s),
        )


def fingerprint(request: GenerationRequest) -> str:
    """SHA-256 of what was asked, before the model's defaults: the same for bodies that mean the same."""
    body = request.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _starting_from(image: str, request: GenerationRequest) -> GenerationRequest:
    return request.model_copy(update={"input": request.input.model_copy(update={"image": image})})


def outstanding_s(load: ModelLoad, entry: CatalogEntry) -> float | None:
    """Seconds of work ahead of a new job at the model's last measured speed; None if that is not known."""
    if entry.tflops_per_second <= 0:
        return None
    return (load.queued_units + load.running_units) / MFLOP_PER_TFLOP / entry.tflops_per_second


def _refuse_what_is_to_come(request: GenerationRequest) -> None:
    if request.webhook_url is not None:
        raise InvalidRequest("webhooks are not served yet; use events_url", param="webhook_url")
    if request.on_deadline != "continue":
        raise InvalidRequest(
            "late jobs are not cancelled yet; cancel them by cancel_url",
            param="on_deadline",
            details={"allowed": ["continue"]},
        )


def _conflict(by_idempotency_key: bool) -> Conflict | InvalidRequest:
    if by_idempotency_key:
        return InvalidRequest(
            "this Idempotency-Key was used with another body",
            param="Idempotency-Key",
            code="idempotency_key_reused",
        )
    return Conflict("this id stands for a job with another body", param="id", code="id_reused")


def _offer(quote: Quote, available_s: float, needed_s: float) -> dict[str, JsonValue]:
    """What would do: the budget that fits the time, and the time that fits the budget."""
    share = max(0.0, available_s / (quote.seconds or available_s)) * quote.plan.granted
    steps = quote.request.input.num_inference_steps or 1
    fraction = math.floor(share * steps) / steps
    deadline_s: JsonValue = math.ceil(needed_s * 10) / 10
    return {"fraction": fraction or None, "deadline_s": deadline_s}


def _whole_seconds(seconds: float) -> int:
    return min(MAX_RETRY_AFTER_S, max(1, math.ceil(seconds)))
