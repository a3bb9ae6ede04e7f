"""From the methods a plan names to the stack a sample runs under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from protocol.calibration import Calibration
from protocol.plan import Plan
from workers.core import Cache, Layout, Router, Stack

MakeCache = Callable[[Layout, Calibration | None], Cache]
MakeRouter = Callable[[Layout, Calibration | None], Router]


def _lazily(module: str, name: str) -> MakeCache:
    """A method imported when it is chosen."""

    def make(layout: Layout, calibration: Calibration | None) -> Cache:
        cache: Cache = getattr(import_module(f"workers.acceleration.{module}"), name)(layout, calibration)
        return cache

    return make


CACHES: Mapping[str, MakeCache] = {}
ROUTERS: Mapping[str, MakeRouter] = {}
_PLAN_ONLY = frozenset({"steps"})
"""Methods that are spent when the plan is made: fewer solver steps."""


class Methods:
    """One model's caches and routers, each made once: samples of all budgets share it and are asked together.

    What differs between samples is in their plan's `parameters` and in their own state.

    Args:
        layout: of the model's network.
        calibration: of its weights, if there is one.
    """

    def __init__(self, layout: Layout, calibration: Calibration | None = None) -> None:
        self._layout = layout
        self._calibration = calibration
        self._caches: dict[str, Cache] = {}
        self._routers: dict[str, Router] = {}

    def stack(self, plan: Plan) -> Stack:
        """The cache and router a plan names.

        Raises:
            LookupError: a method this build does not have; the message lists the known ones.
            ValueError: more than one cache or more than one router.
        """
        known = _PLAN_ONLY | set(CACHES) | set(ROUTERS)
        for name in plan.methods:
            if name not in known:
                raise LookupError(f"unknown method {name!r}; known: {', '.join(sorted(known))}")
        caches = [name for name in plan.methods if name in CACHES]
        routers = [name for name in plan.methods if name in ROUTERS]
        if len(caches) > 1 or len(routers) > 1:
            raise ValueError(f"{' + '.join(plan.methods)}: at most one cache and one router go together")
        return Stack(
            self._cache(caches[0]) if caches else None,
            self._router(routers[0]) if routers else None,
        )

    def _cache(self, name: str) -> Cache:
        if name not in self._caches:
            self._caches[name] = CACHES[name](self._layout, self._calibration)
        return self._caches[name]

    def _router(self, name: str) -> Router:
        if name not in self._routers:
            self._routers[name] = ROUTERS[name](self._layout, self._calibration)
        return self._routers[name]
