"""The soft-budget controller: PI arithmetic worked by hand, the reference curve, guards and what they owe.

The last part runs SoftCap on the toy to show what a hard budget lets guards and risk do.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from protocol.receipts import Action
from tests.acceleration.softcap_support import ALWAYS, MOVED, PAPER, STEPS, jumps, toy
from tests.acceleration.support import fulls, plan_for, run_one
from tests.engine.requests import request
from workers.acceleration.controller import Guards, PiSettings, PiState, ReferenceCurve, step

SETTINGS = PiSettings(
    tau_0=0.3, k_p=0.02, k_i=0.002, integral_min=-10, integral_max=10, tau_min=0.18, tau_max=0.48
)


def test_one_step_by_hand() -> None:
    """Two too many: the integral goes from 1 to 3, tau = .3 + .02 x 2 + .002 x 3."""
    state, threshold = step(SETTINGS, PiState(1.0), 6, 4.0)
    assert state == PiState(3.0)
    assert threshold == pytest.approx(0.346)


def test_on_the_curve_the_threshold_is_tau_0() -> None:
    assert step(SETTINGS, PiState(), 4, 4.0) == (PiState(0.0), 0.3)


def test_overspending_raises_the_threshold_and_saving_lowers_it() -> None:
    thresholds = [step(SETTINGS, PiState(), spent, 5.0)[1] for spent in range(11)]
    assert thresholds == sorted(set(thresholds))
    assert thresholds[0] < 0.3 < thresholds[-1]


def test_a_held_integral_stays_and_still_counts() -> None:
    state, threshold = step(SETTINGS, PiState(5.0), 3, 1.0, hold=True)
    assert state == PiState(5.0)
    assert threshold == pytest.approx(0.3 + 0.04 + 0.01)


def test_the_integral_is_clamped_so_it_comes_back_at_once() -> None:
    """100 steps 1 above the curve stop at 10; one step 1 below gives 9, not 99."""
    state = PiState()
    for _ in range(100):
        state, _ = step(SETTINGS, state, 1, 0.0)
    assert state == PiState(10.0)
    assert step(SETTINGS, state, 0, 1.0)[0] == PiState(9.0)


@pytest.mark.parametrize(("spent", "expected"), [(40, 0.48), (-40, 0.18)])
def test_the_threshold_is_clamped(spent: int, expected: float) -> None:
    assert step(SETTINGS, PiState(), spent, 0.0)[1] == expected


def test_without_gains_the_threshold_is_fixed() -> None:
    fixed = replace(SETTINGS, k_p=0.0, k_i=0.0)
    assert {step(fixed, PiState(3.0), spent, 2.0)[1] for spent in range(9)} == {0.3}


def test_point_4_sign_a_larger_cap_never_raises_a_threshold() -> None:
    """One recorded history of full steps, many caps: every threshold falls or stays as the cap grows."""
    history = [0, 1, 2, 2, 2, 3, 4, 5, 5, 5, 5, 6, 6, 7, 7, 7, 8, 8, 8, 8]
    curve = ReferenceCurve((0.0, 0.3, 0.5, 0.7, 1.0))
    runs = []
    for cap in (0.5, 2, 4, 8, 12, 20, 40, 200):
        state, thresholds = PiState(), []
        for index, spent in enumerate(history):
            state, threshold = step(SETTINGS, state, spent, cap * curve.at(index / 20), hold=index < 2)
            thresholds.append(threshold)
        runs.append(thresholds)
    for smaller, larger in pairwise(runs):
        assert all(high >= low for high, low in zip(smaller, larger, strict=True))
    assert runs[0][10] > 0.4
    assert runs[-1][10] == 0.18


@pytest.mark.parametrize(
    ("limits", "named"),
    [({"tau_min": 0.9}, "tau_min 0.9"), ({"integral_max": -11}, "integral_min -10")],
)
def test_crossed_limits_are_refused(limits: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(SETTINGS, **limits)


def test_the_curve_is_read_between_its_points() -> None:
    """Four points at 0, 1/3, 2/3, 1."""
    curve = ReferenceCurve((0.0, 0.6, 0.6, 1.0))
    read = [curve.at(progress) for progress in (0.0, 1 / 6, 0.5, 5 / 6, 1.0)]
    assert read == pytest.approx([0.0, 0.3, 0.6, 0.8, 1.0])


def test_the_curve_is_a_straight_line_without_a_table() -> None:
    assert [ReferenceCurve().at(progress) for progress in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("points", [(0.0,), (0.1, 1.0), (0.0, 0.5, 0.4, 1.0), (0.0, 1.1)])
def test_no_curve_is_refused(points: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="starts at 0, never falls"):
        ReferenceCurve(points)


def simulate(guards: Guards) -> list[int]:
    """Where a run is full if nothing but its guards makes it so."""
    fulls: list[int] = []
    for index in range(guards.num_steps):
        if guards.reason(index, fulls[-1] if fulls else None):
            fulls.append(index)
    return fulls


def test_guards_by_hand() -> None:
    guards = Guards(warmup=2, max_skip=8, num_steps=20)
    assert simulate(guards) == [0, 1, 9, 17]
    assert [guards.reason(index, anchor) for index, anchor in ((0, None), (1, 0), (9, 1), (8, 1))] == [
        "warmup",
        "warmup",
        "max_skip",
        None,
    ]


def test_what_is_owed_is_what_comes() -> None:
    for warmup in (1, 2, 4):
        for max_skip in (1, 3, 8, 30):
            guards = Guards(warmup, max_skip, 20)
            fulls = simulate(guards)
            assert [guards.owed(index) for index in fulls] == list(reversed(range(len(fulls))))


def test_guards_are_cut_to_what_can_be_paid_and_stay_where_they_can() -> None:
    """All step counts and grants; where 8 is wide enough the guards stay as they are."""
    for num_steps in range(1, 31):
        for payable in range(1, num_steps + 1):
            guards = Guards(2, 8, num_steps)
            cut = guards.within(payable)
            assert 1 <= len(simulate(cut)) <= payable
            if payable > 2 and (num_steps - 2) / (payable - 2) <= 8:
                assert cut == guards


def test_guards_widened_by_hand() -> None:
    """Three: 0, 1 and one more, 18 on. Two: the warm-up is cut to one, then 19 on. One: the first."""
    guards = Guards(2, 8, 20)
    assert [simulate(guards.within(payable)) for payable in (3, 2, 1)] == [[0, 1, 19], [0, 19], [0]]


@pytest.mark.parametrize(
    ("granted", "expected"), [(6, [0, 1, 2, 3, 4, 12]), (3, [0, 1, 2]), (2, [0, 1]), (1, [0])]
)
def test_hard_mode_risk_moves_anchors_and_adds_none(granted: int, expected: list[int]) -> None:
    """The risk is always 1. With 6: at 4 five are spent and one is owed to the guard at 12."""
    lines = toy(ALWAYS, fulls=granted)
    assert fulls(lines) == expected
    assert sum(line.flop for line in lines) <= granted * 43
    denied = [line for line in lines if line.reason == "guard_denied"]
    assert len(denied) == STEPS - len(expected)
    assert all(line.risk == 1 for line in denied)


@pytest.mark.parametrize(("granted", "expected"), [(4, [0, 1, 10, 19]), (3, [0, 1, 19]), (2, [0, 19])])
def test_hard_mode_guards_are_widened_until_they_can_be_paid(granted: int, expected: list[int]) -> None:
    lines = toy({"tau_min": 1.5, "tau_max": 1.5}, fulls=granted)
    assert fulls(lines) == expected
    assert not any(line.reason == "guard_denied" for line in lines)


@pytest.mark.parametrize("monitor", [0, 1])
def test_hard_mode_never_spends_more_and_never_denies_a_guard(monitor: int) -> None:
    """Many grants, with a risk that comes and goes; forecasts that embed are paid out of it too."""
    for tenths in range(10, 10 * STEPS, 3):
        lines = toy({**MOVED, "monitor": monitor}, jumps(3, 4, 8, 15), fulls=tenths / 10)
        spent = sum(line.flop for line in lines)
        assert spent <= max(tenths / 10 * 43, 43 + 19 * (1 - monitor))
        assert all(line.risk is not None for line in lines if line.reason == "guard_denied")


def test_soft_mode_may_go_a_tenth_of_full_compute_above_the_grant(flux: Any) -> None:
    body = request(num_inference_steps=20)
    counts = {}
    for mode in ("soft", "hard"):
        result = run_one(flux, body, plan_for(flux, body, PAPER, ALWAYS, granted=0.4, mode=mode))
        counts[mode] = sum(line.action is Action.FULL for line in result.samples[0].receipt.steps)
    assert counts == {"hard": 8, "soft": 10}
