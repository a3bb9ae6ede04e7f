"""Solvers by name."""

from __future__ import annotations

from collections.abc import Callable

from workers.core import ScheduledSolver
from workers.sampling.ab2 import AdamsBashforth2
from workers.sampling.dpmpp_2m import DpmSolverPp2M
from workers.sampling.euler import Euler
from workers.sampling.heun import Heun
from workers.sampling.unipc import UniPc

_SOLVERS: dict[str, Callable[[], ScheduledSolver]] = {
    "euler": Euler,
    "ab2": AdamsBashforth2,
    "dpmpp-2m": DpmSolverPp2M,
    "unipc": UniPc,
    "heun": Heun,
}


def make_solver(name: str) -> ScheduledSolver:
    """The solver of that name.

    Raises:
        LookupError: naming the known ones.
    """
    if name not in _SOLVERS:
        raise LookupError(f"unknown solver {name!r}; known: {', '.join(sorted(_SOLVERS))}")
    return _SOLVERS[name]()
