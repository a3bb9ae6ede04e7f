"""Price, reservation and deadlines, worked by hand from the model's own price."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.cost import price
from protocol.errors import DeadlineInfeasible, DeadlineInfeasibleNow, InvalidRequest
from protocol.jobqueue import Catalog, JobKey, JobQueue
from protocol.jobs import GenerationRequest
from protocol.tracing import TracingSettings
from server.admission import Admission, fingerprint
from server.auth import ANONYMOUS
from server.metrics import GatewayMetrics
from server.tracing import GatewayTracing
from tests.protocol.entries import flux_entry
from tests.protocol.entries import request as resolved
from tests.server.conftest import body

ENTRY = flux_entry()
PRICE = price(ENTRY, resolved(ENTRY, num_inference_steps=4))
FULL, OTHER = PRICE.full_flop // 10**6, PRICE.other_flop // 10**6


@pytest.fixture
async def admission(jobqueue: JobQueue) -> Admission:
    await Catalog(jobqueue).put(ENTRY)
    return Admission(jobqueue, Catalog(jobqueue), GatewayMetrics(), GatewayTracing(TracingSettings()))


def parse(**job: Any) -> GenerationRequest:
    return GenerationRequest.model_validate(body(job=job))


@pytest.mark.parametrize(
    ("budget", "granted", "reserved"),
    [
        (1.0, 1.0, 1.0),  # at most full, also in soft mode
        (0.5, 0.5, 0.6),  # soft: the grant and a tenth of full
        (0.97, 0.75, 0.85),  # of 4 steps 3 are paid for
        ({"fraction": 0.5, "mode": "hard"}, 0.5, 0.5),
    ],
)
async def test_what_is_granted_and_reserved(
    admission: Admission, budget: object, granted: float, reserved: float
) -> None:
    quote = await admission.quote(parse(compute_budget=budget), ANONYMOUS)
    assert quote.full_mflop == FULL
    assert quote.granted_mflop == pytest.approx(granted * FULL, abs=1)
    assert quote.reserved_mflop == pytest.approx(reserved * FULL + OTHER, abs=2)


async def test_the_floor_is_a_share_of_full(admission: Admission) -> None:
    quote = await admission.quote(parse(compute_budget={"fraction": 0.75, "floor": 0.25}), ANONYMOUS)
    assert quote.floor_mflop == int(0.25 * FULL)
    quote = await admission.quote(parse(compute_budget=0.75), ANONYMOUS)
    assert quote.floor_mflop == quote.granted_mflop


async def test_the_reservation_stands_in_the_load(admission: Admission, jobqueue: JobQueue) -> None:
    await admission.submit(parse(compute_budget=0.5), JobKey("public", "a"), ANONYMOUS)
    load = await jobqueue.load("flux-tiny")
    assert load.queued_jobs == 1
    assert load.queued_units == pytest.approx(0.6 * FULL + OTHER, abs=2)


async def test_a_deadline_no_idle_system_can_keep(admission: Admission, jobqueue: JobQueue) -> None:
    # At a speed that makes the whole job 10 s, 4 s hold .4 of it: 1 of 4 steps.
    await Catalog(jobqueue).set_speed("flux-tiny", (FULL + OTHER) / 1e6 / 10)
    with pytest.raises(DeadlineInfeasible) as caught:
        await admission.submit(parse(deadline_s=4), JobKey("public", "a"), ANONYMOUS)
    assert caught.value.param == "deadline_s"
    offer = caught.value.details["offer"]
    assert offer == {"fraction": 0.25, "deadline_s": 10.0}
    await admission.submit(parse(deadline_s=10.5), JobKey("public", "a"), ANONYMOUS)


async def test_a_deadline_the_load_forbids(admission: Admission, jobqueue: JobQueue) -> None:
    await Catalog(jobqueue).set_speed("flux-tiny", (FULL + OTHER) / 1e6 / 10)
    await admission.submit(parse(), JobKey("public", "first"), ANONYMOUS)
    with pytest.raises(DeadlineInfeasibleNow) as caught:
        await admission.submit(parse(deadline_s=12), JobKey("public", "second"), ANONYMOUS)
    assert caught.value.status == 503
    assert caught.value.retry_after_s == 10
    assert caught.value.details["offer"] == {"fraction": None, "deadline_s": 20.0}
    assert (await jobqueue.load("flux-tiny")).queued_jobs == 1


async def test_a_repeated_put_is_found_again_under_any_load(admission: Admission, jobqueue: JobQueue) -> None:
    key = JobKey("public", "a")
    await admission.submit(parse(deadline_s=12), key, ANONYMOUS)
    await Catalog(jobqueue).set_speed("flux-tiny", 1e-9)
    assert (await admission.submit(parse(deadline_s=12), key, ANONYMOUS)).outcome == "replay"


async def test_a_repeated_idempotency_key_is_found_again_under_any_load(
    admission: Admission, jobqueue: JobQueue
) -> None:
    first, second, once = JobKey("public", "a"), JobKey("public", "b"), ("/v1/generations", "0" * 64)
    await admission.submit(parse(deadline_s=12), first, ANONYMOUS, idempotency=once)
    await Catalog(jobqueue).set_speed("flux-tiny", 1e-9)
    again = await admission.submit(parse(deadline_s=12), second, ANONYMOUS, idempotency=once)
    assert (again.outcome, again.key) == ("replay", first)


async def test_what_is_to_come_is_refused_by_name(admission: Admission) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await admission.quote(parse(webhook_url="https://example.org"), ANONYMOUS)
    assert caught.value.param == "webhook_url"


def test_the_fingerprint_is_of_what_is_meant() -> None:
    said = parse(priority=0, metadata={"a": "1", "b": "2"}, compute_budget=0.5)
    same = parse(metadata={"b": "2", "a": "1"}, compute_budget={"fraction": 0.5})
    assert fingerprint(said) == fingerprint(same)
    assert fingerprint(said) != fingerprint(parse(metadata={"a": "1", "b": "2"}))
