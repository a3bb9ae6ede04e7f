"""Which cache and router a plan runs under."""

from __future__ import annotations

from collections.abc import Callable

from protocol.plan import Plan
from workers.acceleration import Methods
from workers.core import Stack
from workers.models import LoadedModel


def stacks_of(model: LoadedModel) -> Callable[[Plan], Stack]:
    """What builds the stacks of a model's plans, see `Methods.stack`.

    Each weights variant has methods of its own, without the calibration: its tables are for the checkpoint's
    own weights. So have samples under a LoRA.
    """
    own = Methods(model.network.layout, model.calibration, model.depth_router)
    others = {
        name: Methods(variant.network.layout, learned=variant.depth_router)
        for name, variant in model.variants.items()
    }

    changed = Methods(model.network.layout, learned=model.depth_router)

    def build(plan: Plan) -> Stack:
        if plan.variant is not None:
            return others[plan.variant].stack(plan)
        return (own if plan.lora is None else changed).stack(plan)

    return build
