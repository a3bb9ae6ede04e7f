"""The names a budget's `methods` may hold. Workers implement them; here is what both sides call them."""

from __future__ import annotations

FEWER_STEPS = ("steps", "ab2", "dpmpp-2m", "unipc")
"""Spent when the plan is made: a shorter run, with the model's own solver or the one named."""

SAMPLERS = (
    "blocks",
    "exact",
    "gated",
    "stale",
    "sync",
    "ctmc",
    "gadd-paper",
    "euler",
    "tweedie",
    "tau-leaping",
    "theta-trapezoidal",
)
"""Of discrete models: a corrector between Tweedie steps, GADD's own settings, or a predictor alone. As many
evaluations as the budget buys; each is a solver of that name."""

SHORTER = (*FEWER_STEPS, *SAMPLERS)
"""Whatever makes the run shorter."""

CACHES = (
    "softcap",
    "softcap-paper",
    "fixed-threshold",
    "static",
    "taylorseer",
    "fora",
    "speca",
    "teacache",
    "first-block-cache",
    "magcache",
)
"""Answer for the network at some evaluations of the unabridged run."""

PLACED = ("softcap", "static")
"""Caches that are full at the plan's nodes where nothing was calibrated."""

FEW_STEP = "few-step"
"""The student of few steps that a checkpoint may carry: weights of its own, always the same short run."""

VARIANTS = (FEW_STEP,)
"""Run on other weights than the checkpoint's own; rows of one forward share their weights."""

ROUTERS = ("pare", "static-drop", "random-drop")
"""Leave blocks out at every evaluation that runs any; the plan says how many run."""

LEARNED = "pare"
"""The router that was trained with the weights; only a PARE student offers it."""

DROPS = ("static-drop", "random-drop")
"""Routers that learned nothing: only used where a budget names them."""

JOIN = "+"
"""Between the parts of a stack that was calibrated as one: `pare+softcap`."""


def parts(method: str) -> tuple[str, ...]:
    """The single methods of a calibrated one, as a budget names them."""
    return tuple(method.split(JOIN))
