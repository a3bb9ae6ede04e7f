"""Which path a risk leads to, by hand."""

from __future__ import annotations

import pytest
import torch

from workers.training.calibration.policies import best_policy, pays
from workers.training.calibration.softcap_points import COUNTS, path_counts

RISK = torch.arange(10, dtype=torch.float64)
HARD = RISK >= 5
ERRORS = {
    4: torch.where(HARD, 0.09, 0.01),
    5: torch.where(HARD, 0.05, 0.01),
    6: torch.where(HARD, 0.01, 0.01),
}


def test_the_hard_half_gets_what_the_calm_half_does_not_need() -> None:
    """At a mean of five: four for the calm, six for the hard strays .01 everywhere; five for all .036."""
    policy = best_policy(ERRORS, RISK, wanted=5, allowance=1)
    assert policy.counts == (4, 6)
    assert policy.spent == 5.0
    assert 4 < policy.thresholds[0] <= 5
    assert policy.error == pytest.approx(0.01)


def test_nobody_gets_more_than_one_run_may() -> None:
    assert best_policy(ERRORS, RISK, wanted=5, allowance=0).counts == (5,)


def test_the_mean_is_never_above_the_grant() -> None:
    for wanted in (4, 5, 6):
        assert best_policy(ERRORS, RISK, wanted=wanted, allowance=2).spent <= wanted + 1e-6


def test_a_risk_that_says_nothing_is_not_followed() -> None:
    """The same errors, the hard ones spread over all risks: one path for all is the best there is."""
    shuffled = {
        count: errors[torch.tensor([0, 5, 1, 6, 2, 7, 3, 8, 4, 9])] for count, errors in ERRORS.items()
    }
    adaptive = best_policy(ERRORS, RISK, wanted=5, allowance=1)
    assert best_policy(shuffled, RISK, wanted=5, allowance=1).error > 2 * adaptive.error


def test_the_longest_path_below_serves_a_grant_without_its_own() -> None:
    assert best_policy(ERRORS, RISK, wanted=20, allowance=2).counts == (6,)


def test_no_path_short_enough() -> None:
    with pytest.raises(ValueError, match=r"at most 1 .*\[4, 5, 6\]"):
        best_policy(ERRORS, RISK, wanted=1, allowance=2)


def test_one_ruined_run_does_not_decide() -> None:
    """Five anchors stray less for nine of ten and ruin the tenth: of its .9 only .15 is counted."""
    usual = {5: torch.full((10,), 0.01), 6: torch.full((10,), 0.06)}
    ruined = usual[5].clone()
    ruined[3] = 0.9
    assert best_policy({5: ruined, 6: usual[6]}, RISK, wanted=6, allowance=0).counts == (5,)


def test_a_policy_pays_below_the_line_between_single_paths() -> None:
    """Between .06 at .2 and .02 at .3 the line is at .05 where .225 is spent."""
    single = [(0.1, 0.2), (0.2, 0.06), (0.3, 0.02)]
    assert pays(0.225, 0.049, single)
    assert not pays(0.225, 0.051, single)
    assert not pays(0.2, 0.06, single)


def test_half_of_any_run_has_a_path() -> None:
    """28 steps have the counts as they stand; of 50, 12, 14 and 16 of 28 are 21, 25 and 29."""
    assert path_counts(28) == COUNTS
    assert path_counts(4) == (1, 2, 3)
    assert path_counts(50) == (*COUNTS, 21, 25, 29)
