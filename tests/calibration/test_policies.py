"""Which path a risk leads to, by hand."""

from __future__ import annotations

import pytest
import torch

from workers.training.calibration.policies import best_policy

RISK = torch.arange(10, dtype=torch.float64)
HARD = RISK >= 5
ERRORS = {
    4: torch.where(HARD, 0.9, 0.1),
    5: torch.where(HARD, 0.5, 0.1),
    6: torch.where(HARD, 0.1, 0.1),
}


def test_the_hard_half_gets_what_the_calm_half_does_not_need() -> None:
    """At a mean of five: four for the calm, six for the hard strays .1 everywhere; five for all .36."""
    policy = best_policy(ERRORS, RISK, wanted=5, most=6)
    assert policy.counts == (4, 6)
    assert policy.spent == 5.0
    assert 4 < policy.thresholds[0] <= 5
    assert policy.error == pytest.approx(0.1)


def test_nobody_gets_more_than_one_run_may() -> None:
    assert best_policy(ERRORS, RISK, wanted=5, most=5).counts == (5,)


def test_the_mean_is_never_above_the_grant() -> None:
    for wanted in (4, 5, 6):
        assert best_policy(ERRORS, RISK, wanted=wanted, most=6).spent <= wanted + 1e-6


def test_a_risk_that_says_nothing_is_not_followed() -> None:
    """The same errors, the hard ones spread over all risks: one path for all is the best there is."""
    shuffled = {
        count: errors[torch.tensor([0, 5, 1, 6, 2, 7, 3, 8, 4, 9])] for count, errors in ERRORS.items()
    }
    adaptive = best_policy(ERRORS, RISK, wanted=5, most=6)
    assert best_policy(shuffled, RISK, wanted=5, most=6).error > 2 * adaptive.error


def test_the_longest_path_below_serves_a_grant_without_its_own() -> None:
    assert best_policy(ERRORS, RISK, wanted=20, most=22).counts == (6,)


def test_no_path_short_enough() -> None:
    with pytest.raises(ValueError, match=r"at most 1 .*\[4, 5, 6\]"):
        best_policy(ERRORS, RISK, wanted=1, most=3)
