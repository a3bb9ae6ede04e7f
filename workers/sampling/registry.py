"""Solvers by name."""

from __future__ import annotations

from collections.abc import Callable

from workers.core import Solver
from workers.sampling.euler import Euler

_SOLVERS: dict[str, Callable[[], Solver]] = {"euler": Euler}


def make_solver(name: str) -> Solver:
    """The solver of that name.

    Raises:
        LookupError: naming the known ones.
    """
    if name not in _SOLVERS:
        raise LookupError(f"unknown solver {name!r}; known: {', '.join(sorted(_SOLVERS))}")
    return _SOLVERS[name]()
