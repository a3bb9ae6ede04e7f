"""Which cache and router a plan runs under."""

from __future__ import annotations

from collections.abc import Callable

from protocol.plan import Plan
from workers.acceleration import Methods
from workers.core import Stack
from workers.models import Model


def stacks_of(model: Model) -> Callable[[Plan], Stack]:
    """What builds the stacks of a model's plans, see `Methods.stack`.

    Each weights variant has methods of its own, without the calibration: its tables are for the checkpoint's
    own weights.
    """
    own = Methods(model.network.layout, model.calibration, model.depth_router)
    others = {
        name: Methods(variant.network.layout, learned=variant.depth_router)
        for name, variant in model.variants.items()
    }

    def build(plan: Plan) -> Stack:
        return (own if plan.variant is None else others[plan.variant]).stack(plan)

    return build
