"""From the methods a plan names to the stack a sample runs under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from pydantic import ValidationError

from protocol.calibration import Calibration
from protocol.methods import FEWER_STEPS, VARIANTS
from protocol.plan import Plan
from workers.acceleration.anchored import AnchoredCache
from workers.core import Cache, Layout, Router, Stack

MakeCache = Callable[[Layout, Calibration | None], Cache]
MakeRouter = Callable[[Layout, Calibration | None], Router]


def _lazily(module: str, name: str) -> MakeCache:
    """A method imported when it is chosen."""

    def make(layout: Layout, calibration: Calibration | None) -> Cache:
        cache: Cache = getattr(import_module(f"workers.acceleration.{module}"), name)(layout, calibration)
        return cache

    return make


CACHES: Mapping[str, MakeCache] = {
    "softcap": _lazily("softcap", "SoftCap"),
    "softcap-paper": _lazily("softcap_paper", "SoftCapPaper"),
    "fixed-threshold": _lazily("fixed_threshold", "FixedThreshold"),
    "static": _lazily("static", "Static"),
    "taylorseer": _lazily("taylorseer", "TaylorSeer"),
    "fora": _lazily("fora", "Fora"),
    "speca": _lazily("speca", "SpeCa"),
    "teacache": _lazily("teacache", "TeaCache"),
    "first-block-cache": _lazily("first_block_cache", "FirstBlockCache"),
    "magcache": _lazily("magcache", "MagCache"),
}
ROUTERS: Mapping[str, MakeRouter] = {}
_TWICE_A_STEP = "heun"
"""The solver whose evaluations share a step: a cache counts evaluations by the schedule's steps."""


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
            ValueError: more than one cache or more than one router; a cache under a solver it cannot follow;
                parameters that are not the method's.
        """
        known = {*FEWER_STEPS, *VARIANTS, *CACHES, *ROUTERS}
        for name in plan.methods:
            if name not in known:
                raise LookupError(f"unknown method {name!r}; known: {', '.join(sorted(known))}")
        caches = [name for name in plan.methods if name in CACHES]
        routers = [name for name in plan.methods if name in ROUTERS]
        if len(caches) > 1 or len(routers) > 1:
            raise ValueError(f"{' + '.join(plan.methods)}: at most one cache and one router go together")
        return Stack(
            self._checked_cache(caches[0], plan) if caches else None,
            self._router(routers[0]) if routers else None,
        )

    def _checked_cache(self, name: str, plan: Plan) -> Cache:
        if plan.solver == _TWICE_A_STEP:
            raise ValueError(f"{name} does not go with {plan.solver}, whose evaluations share a step")
        cache = self._cache(name)
        if isinstance(cache, AnchoredCache):
            try:
                cache.config_type.model_validate(plan.parameters)
            except ValidationError as error:
                raise ValueError(f"{name}: {error}") from error
        return cache

    def _cache(self, name: str) -> Cache:
        if name not in self._caches:
            self._caches[name] = CACHES[name](self._layout, self._calibration)
        return self._caches[name]

    def _router(self, name: str) -> Router:
        if name not in self._routers:
            self._routers[name] = ROUTERS[name](self._layout, self._calibration)
        return self._routers[name]
