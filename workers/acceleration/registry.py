"""From the methods a plan names to the stack a sample runs under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from protocol.calibration import Calibration
from protocol.methods import SHORTER, VARIANTS
from protocol.plan import Plan
from workers.acceleration.anchored import AnchoredCache, MethodConfig
from workers.acceleration.routed import PlannedRouter
from workers.core import Cache, Layout, Router, Stack
from workers.core.pare_router import DepthRouter

MakeCache = Callable[[Layout, Calibration | None], Cache]
MakeRouter = Callable[[Layout, Calibration | None, DepthRouter | None], Router]


def _lazily(module: str, name: str) -> Callable[..., Any]:
    """A method imported when it is chosen."""

    def make(*given: Any) -> Any:
        return getattr(import_module(f"workers.acceleration.{module}"), name)(*given)

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
ROUTERS: Mapping[str, MakeRouter] = {
    "pare": _lazily("pare", "Pare"),
    "static-drop": _lazily("static_drop", "StaticDrop"),
    "random-drop": _lazily("random_drop", "RandomDrop"),
}
_TWICE_A_STEP = "heun"
"""The solver whose evaluations share a step: a cache counts evaluations by the schedule's steps."""


class Methods:
    """One model's caches and routers, each made once: samples of all budgets share it and are asked together.

    What differs between samples is in their plan's `parameters` and in their own state.

    Args:
        layout: of the model's network.
        calibration: of its weights, if there is one.
        learned: the router trained with its weights, if there is one.
    """

    def __init__(
        self, layout: Layout, calibration: Calibration | None = None, learned: DepthRouter | None = None
    ) -> None:
        self._layout = layout
        self._calibration = calibration
        self._learned = learned
        self._caches: dict[str, Cache] = {}
        self._routers: dict[str, Router] = {}

    def stack(self, plan: Plan) -> Stack:
        """The cache and router a plan names.

        Raises:
            LookupError: a method this build does not have; the message lists the known ones.
            ValueError: more than one cache or more than one router; a solver that a method cannot follow;
                parameters that are not the method's, depths that are not the network's.
        """
        known = {*SHORTER, *VARIANTS, *CACHES, *ROUTERS}
        for name in plan.methods:
            if name not in known:
                raise LookupError(f"unknown method {name!r}; known: {', '.join(sorted(known))}")
        caches = [name for name in plan.methods if name in CACHES]
        routers = [name for name in plan.methods if name in ROUTERS]
        if len(caches) > 1 or len(routers) > 1:
            raise ValueError(f"{' + '.join(plan.methods)}: at most one cache and one router go together")
        for name in (*caches, *routers):
            if plan.solver == _TWICE_A_STEP:
                raise ValueError(f"{name} does not go with {plan.solver}, whose evaluations share a step")
        return Stack(
            self._checked_cache(caches[0], plan) if caches else None,
            self._checked_router(routers[0], plan) if routers else None,
        )

    def _checked_cache(self, name: str, plan: Plan) -> Cache:
        cache = self._cache(name)
        if isinstance(cache, AnchoredCache):
            _check_parameters(name, cache.config_type, plan)
        return cache

    def _checked_router(self, name: str, plan: Plan) -> Router:
        """Parameters are the cache's, if there is one."""
        router = self._router(name)
        if isinstance(router, PlannedRouter):
            if not any(other in CACHES for other in plan.methods):
                _check_parameters(name, router.config_type, plan)
            try:
                router.check(plan)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return router

    def _cache(self, name: str) -> Cache:
        if name not in self._caches:
            self._caches[name] = CACHES[name](self._layout, self._calibration)
        return self._caches[name]

    def _router(self, name: str) -> Router:
        if name not in self._routers:
            self._routers[name] = ROUTERS[name](self._layout, self._calibration, self._learned)
        return self._routers[name]


def _check_parameters(name: str, config_type: type[MethodConfig], plan: Plan) -> None:
    try:
        config_type.model_validate(plan.parameters)
    except ValidationError as error:
        raise ValueError(f"{name}: {error}") from error
