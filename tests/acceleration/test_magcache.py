"""MagCache on a curve: four blocks add 4 (1 + c(k)); decisions come from the table alone."""

from __future__ import annotations

import pytest

from tests.acceleration.support import Curve, fulls, moved
from workers.acceleration.magcache import resampled

TABLE = {"magcache": {"ratios": [1.0, 1.0, 1.0, 1.25, 1.0, 1.0, 1.0, 1.0]}}
QUARTER = {"retention": 0.25, "max_skip": 2}


def test_errors_and_skips_add_up() -> None:
    """Two of eight are retained. 2: no error. 3: .25 > .24, full. 4, 5: none. 6: a third skip. 7: none.

    Cheap: 2 + k + 4 (1 + the last full k).
    """
    lines = moved(Curve(float, 8), "magcache", QUARTER, tables=TABLE)
    assert fulls(lines) == [0, 1, 3, 6]
    assert [line.reason for line in lines] == [
        "warmup",
        "warmup",
        "calm",
        "risk",
        "calm",
        "calm",
        "max_skip",
        "calm",
    ]
    assert [line.output for line in lines] == [6, 11, 12, 21, 22, 23, 36, 37]
    assert lines[3].risk == pytest.approx(0.25)
    assert [line.flop for line in lines[:3]] == [43, 43, 3]


def test_ratios_multiply_before_their_distance_to_one_is_added() -> None:
    """2: |1 - 1.1| = .1; 3: |1 - 1.21| makes .31; 4: 1.21 x .9 = 1.089 makes .399."""
    tables = {"magcache": {"ratios": [1.0, 1.0, 1.1, 1.1, 0.9, 1.0]}}
    parameters = {"threshold": 9, "retention": 0.34}
    lines = moved(Curve(float, 6), "magcache", parameters, tables=tables)
    assert [line.risk for line in lines[2:5]] == pytest.approx([0.1, 0.31, 0.399])


def test_an_error_equal_to_the_threshold_is_skipped_but_zero_never_skips() -> None:
    """The table's ratio at 2 is 1, its error 0."""
    assert 2 in fulls(moved(Curve(float, 8), "magcache", {**QUARTER, "threshold": 0}, tables=TABLE))
    assert fulls(moved(Curve(float, 8), "magcache", {**QUARTER, "threshold": 0.25}, tables=TABLE)) == [
        0,
        1,
        4,
        7,
    ]


@pytest.mark.parametrize(
    ("always", "expected"),
    [(-1, [0, 1, 2, 5, 9, 15, 21, 26]), (11, [0, 1, 2, 5, 9, 11, 17, 23, 26])],
)
def test_the_published_table_over_28(always: int, expected: list[int]) -> None:
    """By hand. From 3: .078, .224, then .41; from 6: .031, .103, .199, then .33; from 10 and 16: a sixth
    skip; from 22: .020, .050, .115, .220, then .38.
    """
    assert fulls(moved(Curve(float, 28), "magcache", {"always": always})) == expected


def test_a_table_is_resampled_to_the_nearest() -> None:
    """Five of three: places 0, .5, 1, 1.5, 2, halves to the even one."""
    assert resampled((10.0, 20.0, 30.0), 5) == (10, 10, 20, 30, 30)
    assert resampled((10.0, 20.0, 30.0), 2) == (10, 30)
    assert resampled((10.0, 20.0, 30.0), 1) == (30,)


def test_what_the_budget_refuses_takes_the_residual() -> None:
    """Two evaluations and seven cheap ones: 43 + 43 + 6 x 3 are paid at 1, nothing more at 3 or 6."""
    lines = moved(Curve(float, 8), "magcache", QUARTER, tables=TABLE, fulls=2.5)
    assert fulls(lines) == [0, 1]
    assert lines[3].reason == lines[6].reason == "guard_denied"
    assert lines[3].output == 5 + 4 * 2
    assert sum(line.flop for line in lines) == 86 + 6 * 3
