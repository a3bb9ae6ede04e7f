"""Adams-Bashforth by hand."""

from __future__ import annotations

import pytest

from tests.sampling.runs import levels, tell_each


def test_three_uneven_steps_by_hand() -> None:
    """Euler first: 8 - .25 (-4) = 9.

    Then h is twice the one before, weights 2 and -1: 9 - .5 (2 x 2 + 4) = 5.
    Then half of it, 1.25 and -.25: 5 - .25 (1.25 x 6 - .25 x 2) = 3.25.
    """
    path = tell_each("ab2", 8.0, levels(1.0, 0.75, 0.25, 0.0), [-4.0, 2.0, 6.0])
    assert path == [9.0, 5.0, 3.25]


def test_exact_where_the_velocity_is_linear_in_sigma() -> None:
    """dx/dsigma = 2 sigma from .36 at .6: Euler's first step ends .01 below sigma^2, the others keep it."""
    path = tell_each("ab2", 0.36, levels(0.6, 0.5, 0.1, 0.0), [1.2, 1.0, 0.2])
    assert path == pytest.approx([0.24, 0.0, -0.01], abs=1e-6)
