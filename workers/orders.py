"""From a claimed job to something the engine can run, checked against the weights that are really loaded."""

from __future__ import annotations

from protocol.catalog import CatalogEntry
from protocol.cost import Price, decode_cost, price
from protocol.errors import JobFailed
from protocol.extent import extent_of
from protocol.jobs import GenerationRequest
from protocol.plan import Plan, make_plan
from protocol.receipts import FLOP_PER_TFLOP
from protocol.records import ClaimedJob
from protocol.resolve import resolve
from workers.roster import Order

_FLOP_PER_MFLOP = 10**6


def make_order(claimed: ClaimedJob, entry: CatalogEntry) -> Order:
    """Price and plan the job as granted.

    Raises:
        JobFailed: code `model_changed`; the job was priced for other weights.
        RheostatError: the request does not fit the model (any more).
    """
    if claimed.digest != entry.digest:
        raise JobFailed(
            f"{entry.name} was replaced by other weights since this job was accepted; send it again",
            param="model",
            code="model_changed",
        )
    request = resolve(claimed.request, entry)
    cost = price(entry, request)
    given = request.input
    decode_flop = decode_cost(entry.shapes, **extent_of(given))
    return Order(
        price=cost,
        plan=_granted_plan(claimed, request, entry, cost),
        text_tflops=(cost.other_flop - given.n * decode_flop) / FLOP_PER_TFLOP,
        decode_tflops=decode_flop / FLOP_PER_TFLOP,
        fps=entry.fps,
    )


def _granted_plan(claimed: ClaimedJob, request: GenerationRequest, entry: CatalogEntry, cost: Price) -> Plan:
    """The plan that was granted: the request's own, unless the grant was changed meanwhile.

    A grant is stored rounded down to whole MFLOP, and the share made from it may lose a step. So the share is
    taken one MFLOP higher; that is less than a step of any network worth the name.
    """
    own = make_plan(request, entry)
    if request.input.n * own.granted_flop // _FLOP_PER_MFLOP == claimed.granted_mflop:
        return own
    share = (claimed.granted_mflop + 1) * _FLOP_PER_MFLOP / cost.full_flop
    return make_plan(request, entry, share=min(1.0, share))
