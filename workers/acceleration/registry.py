"""From the methods a plan names to the stack a sample runs under."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from protocol.plan import Plan
from workers.core import Cache, Router, Stack

_CACHES: Mapping[str, Callable[[Plan], Cache]] = {}
_ROUTERS: Mapping[str, Callable[[Plan], Router]] = {}
_PLAN_ONLY = frozenset({"steps"})
"""Methods that are spent when the plan is made: fewer solver steps."""


def build_stack(plan: Plan) -> Stack:
    """The cache and router a plan names.

    Raises:
        LookupError: a method this build does not have; the message lists the known ones.
        ValueError: more than one cache or more than one router.
    """
    known = _PLAN_ONLY | set(_CACHES) | set(_ROUTERS)
    for name in plan.methods:
        if name not in known:
            raise LookupError(f"unknown method {name!r}; known: {', '.join(sorted(known))}")
    caches = [_CACHES[name](plan) for name in plan.methods if name in _CACHES]
    routers = [_ROUTERS[name](plan) for name in plan.methods if name in _ROUTERS]
    if len(caches) > 1 or len(routers) > 1:
        raise ValueError(f"{' + '.join(plan.methods)}: at most one cache and one router go together")
    return Stack(next(iter(caches), None), next(iter(routers), None))
