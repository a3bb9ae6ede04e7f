"""The closed form is the published table's, and training finds it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.jlt_capacity import TARGETS, Problem, passed, train


def inverse_squares(count: int) -> torch.Tensor:
    return torch.arange(1, count + 1, dtype=torch.float64) ** -2


@pytest.mark.parametrize(
    ("time", "rank", "clean", "velocity", "bayes"),
    [
        (0.3, 8, 2.98, 57.6, 2.98),
        (0.9, 8, 18.0, 57.8, 15.3),
        (0.3, 64, 2.98, 2.98, 2.98),
        (0.9, 64, 15.3, 15.3, 15.3),
    ],
)
def test_the_table(time: float, rank: int, clean: float, velocity: float, bayes: float) -> None:
    problem = Problem(inverse_squares(64), time)
    found = (problem.best("x", rank), problem.best("v", rank), problem.bayes)
    assert found == pytest.approx((clean, velocity, bayes), rel=5e-3)


def test_the_exact_risk_of_a_readout_by_hand() -> None:
    """lam 1, t .5: D = .5, Bayes 2, best gain 0. A gain of 1 leaves 1 x .5 more: E (x - eps - z)^2 = 2.5."""
    problem = Problem(torch.ones(1, dtype=torch.float64), 0.5)
    assert problem.risk(torch.zeros(1, 1)) == 2
    assert problem.risk(torch.ones(1, 1)) == 2.5
    noisy, clean, velocity = problem.draw(torch.Generator().manual_seed(0))
    torch.testing.assert_close(noisy, 0.5 * clean + 0.5 * (clean - velocity))


def test_training_finds_the_closed_form_and_the_free_skip_closes_the_gap() -> None:
    """8 dimensions, rank 2, t .3: 2 of 8 noise directions can be carried. Risks within 3 %, seeds fixed."""
    problem = Problem(inverse_squares(8), 0.3)
    trained = {target: train(problem, target, 2, steps=300) for target in TARGETS}
    for target in ("x", "v"):
        assert trained[target] == pytest.approx(problem.best(target, 2), rel=0.03)
    assert trained["v"] > 2.5 * trained["x"]
    assert trained["v + skip"] < 1.03 * problem.best("x", 2)


def test_a_run_passes_only_where_it_met_the_closed_form() -> None:
    row = {"target": "x", "closed_form": 10.0, "trained": 10.2}
    assert passed([row, {**row, "target": "v + skip", "trained": 7.0}])
    assert not passed([{**row, "trained": 9.6}])
    assert not passed([{**row, "trained": 10.4}])
