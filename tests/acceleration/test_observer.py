"""The drift observer: four statistics worked by hand, their scores, and a row that feels no company."""

from __future__ import annotations

import math

import pytest
import torch

from workers.acceleration.observer import (
    PAPER_SCALES,
    PAPER_WEIGHTS,
    Cues,
    Measured,
    View,
    base_risk,
    cues,
    measure,
    risk,
)

EPS = 1e-8


def tokens(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, -1, 1)


def score(found: Cues) -> float:
    return base_risk(found, PAPER_SCALES, PAPER_WEIGHTS)


def test_the_four_statistics_by_hand() -> None:
    """x = (3, 4), x_a = (4, 3): |x - x_a| = 2 of |x| = 7; cosine 24/25; d = 2 of 8; D1 = (1, 7): mean 25."""
    (measured,) = measure([View(tokens(3, 4), tokens(4, 3), tokens(1, 7))])
    assert measured == Measured(2, 7, 24, 25, 25, 25)
    found = cues(measured, 2, 8, EPS)
    assert found == pytest.approx(Cues(2 / 7, 0.04, 0.25, 5.0), abs=1e-6)
    # Shares: (2/7)/.5 = 4/7, .04/.08 = .5, .25/.5 = .5, 5/4 clipped to 1.
    assert score(found) == pytest.approx(0.45 * 4 / 7 + 0.25 * 0.5 + 0.15 * 0.5 + 0.15, abs=1e-6)


def test_the_denominator_is_the_present_state() -> None:
    """From 1 to 4 the state moved by 3/4 of itself; from 4 to 1 by 3 times itself."""
    up, down = measure([View(tokens(4), tokens(1), None), View(tokens(1), tokens(4), None)])
    assert cues(up, 1, 8, EPS).magnitude == pytest.approx(0.75)
    assert cues(down, 1, 8, EPS).magnitude == pytest.approx(3.0)


def test_a_skip_beyond_the_longest_counts_as_the_longest() -> None:
    assert cues(Measured(0, 1, 1, 1, 1, 0), 11, 8, EPS).distance == 1.0


@pytest.mark.parametrize("cue", range(4))
def test_point_3_each_share_is_monotone_and_the_score_stays_in_range(cue: int) -> None:
    scores = []
    for value in torch.linspace(-0.1, 9.0, 60).tolist():
        found = [0.0] * 4
        found[cue] = value
        scores.append(score(Cues(*found)))
    assert scores == sorted(scores)
    assert scores[0] == 0.0
    assert scores[-1] == pytest.approx(PAPER_WEIGHTS[cue])
    assert 0.999 < score(Cues(*[1e9] * 4)) <= 1.0


def test_point_3_no_drift_is_no_risk() -> None:
    """x_t = x_a, D1 = 0, d = 0: what is left is eps in a denominator."""
    state = torch.randn(1, 32, 16, generator=torch.Generator().manual_seed(1))
    (measured,) = measure([View(state, state.clone(), torch.zeros_like(state))])
    assert score(cues(measured, 0, 8, EPS)) == pytest.approx(0.0, abs=1e-9)


def test_what_is_not_a_number_is_the_largest_risk() -> None:
    """A receipt could not carry NaN, and a threshold would let it pass."""
    (measured,) = measure([View(tokens(math.nan), tokens(1), tokens(math.inf))])
    assert score(cues(measured, 8, 8, EPS)) == pytest.approx(1.0)


def test_a_vanishing_state_does_not_divide_by_zero() -> None:
    (measured,) = measure([View(tokens(0), tokens(0), None)])
    assert cues(measured, 0, 8, EPS) == Cues(0.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("base", "before", "gamma", "expected"),
    [(0.4, 0.2, 0.0, 0.4), (0.4, 0.2, 0.5, 0.5), (0.4, 0.6, 0.5, 0.4), (0.9, 0.1, 0.5, 1.0)],
)
def test_only_a_rise_adds_to_the_risk(base: float, before: float, gamma: float, expected: float) -> None:
    assert risk(base, before, gamma) == pytest.approx(expected)


def test_statistics_of_bfloat16_states_are_float32_ones() -> None:
    """4,096 ones and a drift of 1/256 each: bfloat16 could not even hold the sum of 1 and 1/256."""
    now = torch.full((1, 4096, 1), 1 + 1 / 128, dtype=torch.bfloat16)
    (measured,) = measure([View(now, torch.ones_like(now), None)])
    assert measured.moved == 32.0
    assert measured.size == 4096 + 32


def test_a_view_measures_the_same_in_any_company() -> None:
    """Bit for bit, at sizes where a reduction over the batch would be split otherwise."""
    draw = torch.Generator().manual_seed(2)
    batch = torch.randn(3, 5, 700, 33, generator=draw)
    views = [
        View(batch[0, row : row + 1], batch[1, row : row + 1], batch[2, row : row + 1]) for row in range(5)
    ]
    together = measure(views)
    assert together == [measure([view])[0] for view in views]
    alone = [View(view.now.clone(), view.anchor.clone(), view.difference.clone()) for view in views]  # type: ignore[union-attr]
    assert together == measure(alone)


def test_many_rows_take_one_host_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = []
    plain = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: syncs.append("tolist") or plain(tensor))
    for name in ("item", "__float__", "__bool__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_, name=name: syncs.append(name))
    assert len(measure([View(tokens(1, 2), tokens(2, 1), None)] * 4)) == 4
    assert syncs == ["tolist"]
    assert measure([]) == []
