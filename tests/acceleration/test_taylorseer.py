"""TaylorSeer on a curve: the toy's output is 6 + 5 c(k)."""

from __future__ import annotations

import pytest

from protocol.receipts import Action
from tests.acceleration.support import Curve, fulls, moved


def test_the_schedule_is_the_public_codes() -> None:
    """The first three, then every fourth: 2 + 4, 2 + 8."""
    lines = moved(Curve(float, 12), "taylorseer", {"interval": 4})
    assert fulls(lines) == [0, 1, 2, 6, 10]
    assert [line.reason for line in lines[:4]] == ["warmup", "warmup", "warmup", "schedule"]
    assert fulls(moved(Curve(float, 9), "taylorseer", {"interval": 4, "warmup": 1})) == [0, 4, 8]


def test_the_default_is_every_sixth_after_three() -> None:
    assert fulls(moved(Curve(float, 28), "taylorseer")) == [0, 1, 2, 8, 14, 20, 26]


def test_a_line_is_forecast_exactly_at_no_cost() -> None:
    """c(k) = k, so 6 + 5 k everywhere."""
    network = Curve(float, 12)
    lines = moved(network, "taylorseer", {"interval": 4})
    assert [line.output for line in lines] == [6 + 5 * k for k in range(12)]
    assert {line.flop for line in lines if line.action is Action.FORECAST} == {0}
    assert len(network.calls) == 5 * 4


def test_order_zero_repeats_the_last_output() -> None:
    lines = moved(Curve(float, 6), "taylorseer", {"interval": 3, "order": 0, "warmup": 1})
    assert [line.output for line in lines] == [6, 6, 6, 21, 21, 21]


def test_the_second_order_is_off_on_a_square_and_newtons_is_not() -> None:
    """Anchors 0, 2, 4; at 5 the series misses k^2 by -N x = -2, so 5 x 25 + 6 by -10.

    With anchors 0 and 2 only, at 3: the line through them, 4 + 2 = 6 in place of 9, by either.
    """
    for newton, at_five in ((0, 121), (1, 131)):
        parameters = {"interval": 2, "order": 2, "warmup": 1, "newton": newton}
        lines = moved(Curve(lambda k: k * k, 6), "taylorseer", parameters)
        assert fulls(lines) == [0, 2, 4]
        assert [line.output for line in lines] == [6, 6, 26, 36, 86, pytest.approx(at_five)]


def test_what_the_budget_refuses_is_forecast() -> None:
    """Three and a half full evaluations: 0, 1, 2 are paid, 6 and 10 are not."""
    lines = moved(Curve(float, 12), "taylorseer", {"interval": 4}, fulls=3.5)
    assert fulls(lines) == [0, 1, 2]
    assert [line.reason for line in lines] == [
        *["warmup"] * 3,
        *["schedule"] * 3,
        "guard_denied",
        *["schedule"] * 3,
        "guard_denied",
        "schedule",
    ]
    assert [line.output for line in lines] == [6 + 5 * k for k in range(12)]


@pytest.mark.parametrize("wrong", [{"interval": 0}, {"warmup": 0}, {"order": 4}, {"every": 3}])
def test_wrong_parameters_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        moved(Curve(float, 4), "taylorseer", wrong)
