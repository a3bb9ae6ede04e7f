"""From a claim to a plan: exactly what was granted, for exactly these weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.catalog import CatalogEntry
from protocol.cost import price
from protocol.errors import InvalidRequest, JobFailed
from protocol.jobs import GenerationRequest
from protocol.plan import make_plan
from protocol.records import ClaimedJob, JobKey
from protocol.resolve import resolve
from workers.orders import make_order

STEPS = 20


@pytest.fixture
def entry(load_flux: Callable[[str, str], Any]) -> CatalogEntry:
    catalog: CatalogEntry = load_flux("plain", "float32").catalog
    return catalog


def claimed(
    entry: CatalogEntry, *, granted_mflop: int | None = None, n: int = 1, **changed: Any
) -> ClaimedJob:
    given = {"prompt": "the sun", "num_inference_steps": STEPS, "seed": 1, "n": n}
    request = resolve(GenerationRequest.model_validate({"model": entry.name, "input": given}), entry)
    cost, plan = price(entry, request), make_plan(request, entry)
    fields: dict[str, Any] = {
        "key": JobKey("t", "j"),
        "request": request,
        "token": "token",
        "attempt": 1,
        "digest": entry.digest,
        "full_mflop": cost.full_flop // 10**6,
        "granted_mflop": n * plan.granted_flop // 10**6 if granted_mflop is None else granted_mflop,
        "due_ms": 0,
        "created_ms": 0,
        "solo": False,
        "checkpoint": None,
        "cancel": False,
    }
    return ClaimedJob(**(fields | changed))


def test_the_requests_own_plan_where_nothing_was_changed(entry: CatalogEntry) -> None:
    job = claimed(entry)
    order = make_order(job, entry)
    assert order.plan == make_plan(job.request, entry)
    assert order.price == price(entry, job.request)


@pytest.mark.parametrize("steps", range(1, STEPS + 1))
@pytest.mark.parametrize("n", [1, 3])
def test_a_lowered_grant_keeps_every_whole_step_it_pays_for(entry: CatalogEntry, steps: int, n: int) -> None:
    """A grant is stored in whole MFLOP, rounded down: 7/20 of 586.3 is 205, a hair below 7 steps."""
    job = claimed(entry, n=n)
    full_flop = price(entry, job.request).full_flop
    granted = claimed(entry, n=n, granted_mflop=full_flop * steps // STEPS // 10**6)
    assert make_order(granted, entry).plan.num_inference_steps == steps


def test_prompts_and_decodes_make_up_the_other_compute(entry: CatalogEntry) -> None:
    order = make_order(claimed(entry, n=3), entry)
    assert order.text_tflops + 3 * order.decode_tflops == pytest.approx(order.price.other_tflops)


def test_other_weights_are_refused(entry: CatalogEntry) -> None:
    with pytest.raises(JobFailed) as raised:
        make_order(claimed(entry, digest="0" * 64), entry)
    assert raised.value.info.code == "model_changed"


def test_a_request_the_model_no_longer_takes_is_refused(entry: CatalogEntry) -> None:
    job = claimed(entry)
    request = job.request.model_copy(update={"input": job.request.input.model_copy(update={"width": 63})})
    with pytest.raises(InvalidRequest) as raised:
        make_order(claimed(entry, request=request), entry)
    assert raised.value.info.param == "input.width"
