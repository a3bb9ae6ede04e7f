"""Intervals against formulas, known tables and hand-made worst cases."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality_vs_compute.intervals import (
    Statistic,
    bootstrap,
    mean,
    non_inferiority,
    percentile_99,
    ratio,
    tail_mean,
)


def outcomes(both: int, won: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth values of the arm and of the reference."""
    ours = [True] * both + [True] * won + [False] * lost + [False] * neither
    theirs = [True] * both + [False] * won + [True] * lost + [False] * neither
    return np.array(ours), np.array(theirs)


def test_tail_is_the_mean_of_the_worst_twentieth() -> None:
    """Of 1 ... 40 the worst two are 39 and 40; of 10 values, half a value is rounded up to one."""
    assert tail_mean(np.random.default_rng(0).permutation(np.arange(1.0, 41.0))) == 39.5
    assert tail_mean(np.arange(10.0)) == 9
    assert tail_mean(np.array([[1.0, 5.0], [7.0, 2.0]])).tolist() == [5, 7]


def test_percentile_99() -> None:
    assert percentile_99(np.arange(101.0)) == pytest.approx(99)


def test_interval_of_a_mean_is_the_normal_one() -> None:
    """1,000 values of variance one: 1.96 / sqrt(1000) to both sides, within a tenth."""
    values = np.random.default_rng(1).normal(size=1000)
    values = (values - values.mean()) / values.std()
    found = bootstrap(values + 3, mean)
    assert found.estimate == pytest.approx(3)
    assert found.high - 3 == pytest.approx(0.062, rel=0.1)
    assert 3 - found.low == pytest.approx(0.062, rel=0.1)


def test_narrower_level_lies_inside() -> None:
    values = np.random.default_rng(2).exponential(size=200)
    wide, narrow = bootstrap(values, tail_mean), bootstrap(values, tail_mean, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_draws_in_parts_are_all_there() -> None:
    """A long arm is drawn in several parts; the seed decides, not chance."""
    values = np.random.default_rng(3).normal(size=9000)
    one = bootstrap(values, draws=1000, seed=4)
    assert one == bootstrap(values, draws=1000, seed=4)
    assert one != bootstrap(values, draws=1000, seed=5)
    assert one.high - one.low == pytest.approx(2 * 1.96 / 9000**0.5, rel=0.15)


@pytest.mark.parametrize("statistic", [mean, tail_mean, percentile_99])
def test_ratio_draws_the_same_pairs_in_both_arms(statistic: Statistic) -> None:
    """An arm that is half as far on every pair has the ratio .5 in every draw, however wild the values."""
    values = np.random.default_rng(6).exponential(size=50) ** 3
    found = ratio(values / 2, values, statistic, draws=500)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_ratio_of_unlike_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="3 pairs against 4"):
        ratio(np.ones(3), np.ones(4))


@pytest.mark.parametrize("values", [np.ones((2, 2)), np.ones(0)])
def test_values_are_one_a_pair(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="one value a pair"):
        bootstrap(values)


def test_equal_arms_have_a_width_all_the_same() -> None:
    """No pair differs: the score bound is -z² / (n + z²), z = 1.645: -.0263 of 100, -.0013 of 2,000."""
    few, many = non_inferiority(*outcomes(90, 0, 0, 10)), non_inferiority(*outcomes(1800, 0, 0, 200))
    assert few.low == pytest.approx(-(1.6449**2) / (100 + 1.6449**2), rel=1e-3)
    assert not few.holds
    assert many.holds


def test_the_bound_is_where_the_score_is_just_one_deviate() -> None:
    """12 won, 2 lost of 50. The likeliest share of lost pairs is searched on a grid, not solved for."""
    low = non_inferiority(*outcomes(30, 12, 2, 6), level=0.975).low
    lost = np.linspace(1e-6, (1 - low) / 2 - 1e-6, 1_000_000)
    likelihood = 12 * np.log(lost + low) + 2 * np.log(lost) + 36 * np.log(1 - 2 * lost - low)
    variance = 50 * (2 * lost[likelihood.argmax()] + low - low**2)
    assert (12 - 2 - 50 * low) / variance**0.5 == pytest.approx(1.95996, abs=1e-3)


def test_many_pairs_have_the_normal_bound() -> None:
    """300 won, 320 lost of 10,000: -.002 - 1.645 sqrt(620 - 400/10,000) / 10,000 = -.0061."""
    found = non_inferiority(*outcomes(8000, 300, 320, 1380))
    assert found.difference == pytest.approx(-0.002)
    assert found.low == pytest.approx(-0.0061, abs=2e-5)
    assert found.holds


def test_a_loss_beyond_the_margin_does_not_hold() -> None:
    found = non_inferiority(*outcomes(1800, 10, 25, 165))
    assert found.difference == pytest.approx(-0.0075)
    assert not found.holds
    assert non_inferiority(*outcomes(1800, 10, 25, 165), margin=0.02).holds


def test_a_bound_is_right_nineteen_times_in_twenty() -> None:
    """A true loss of exactly the margin is called non-inferior in 5 % of the trials (400: 1.8 % to 9 % are
    within three deviations of chance)."""
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(400):
        kinds = rng.choice(4, size=500, p=[0.8, 0.03, 0.05, 0.12])
        counts = np.bincount(kinds, minlength=4).tolist()
        held += non_inferiority(*outcomes(*counts), margin=0.02).holds
    assert 0.018 < held / 400 < 0.09
