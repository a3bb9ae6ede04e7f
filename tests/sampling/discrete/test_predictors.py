"""Weights by hand, and what is exact for a single token."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.discrete_exact.enumerable import Enumerable, total_variation
from benchmarks.discrete_exact.kernels import matrix, run
from workers.sampling.discrete import predictors
from workers.sampling.discrete.plan import plan_moves
from workers.sampling.discrete.settings import Settings
from workers.sampling.discrete.steps import Denoise, Predict

ONE = Enumerable(torch.tensor([0.5, 0.3, 0.15, 0.05]))
TOKENS = torch.tensor([[1]])
RATIOS = torch.tensor([[[2.0, 1.0, 4.0, 1.0]]])


def test_rates_are_ratios_over_s_and_0_at_the_current_token() -> None:
    assert predictors.reverse_rates(RATIOS, TOKENS).tolist() == [[[0.5, 0.0, 1.0, 0.25]]]


def test_euler_by_hand() -> None:
    """Width .2: moves .1, .2, .05, stays .65. Width 2 would leave -2.5 to stay: 0."""
    rates = predictors.reverse_rates(RATIOS, TOKENS)
    assert predictors.euler(rates, TOKENS, 0.2).flatten().tolist() == pytest.approx([0.1, 0.65, 0.2, 0.05])
    assert predictors.euler(rates, TOKENS, 2.0)[0, 0].tolist() == [1.0, 0.0, 2.0, 0.5]


def test_leaps_by_hand() -> None:
    """A total rate of 1.75 for .4: no jump exp(-.7); exactly one, to the first value, .2 exp(-.7)."""
    rates = predictors.reverse_rates(RATIOS, TOKENS)
    stay = math.exp(-0.7)
    single = predictors.single_jump(rates, TOKENS, 0.4)[0, 0]
    assert single.tolist() == pytest.approx([0.2 * stay, 1 - 0.7 * stay, 0.4 * stay, 0.1 * stay])
    first = predictors.first_jump(rates, TOKENS, 0.4)[0, 0]
    assert first.tolist() == pytest.approx([(1 - stay) * 2 / 7, stay, (1 - stay) * 4 / 7, (1 - stay) / 7])


def test_no_rates_stay() -> None:
    still = torch.zeros(1, 1, 4)
    assert predictors.first_jump(still, TOKENS, 1.0).tolist() == [[[0.0, 1.0, 0.0, 0.0]]]


def test_trapezoidal_rates_by_hand() -> None:
    """theta = 1/2: twice the later rates minus the earlier ones, not below 0, and 0 at the current token."""
    first, second = torch.tensor([[[1.0, 5.0, 0.5]]]), torch.tensor([[[0.75, 0.0, 0.125]]])
    assert predictors.trapezoidal_rates(first, second, TOKENS, 0.5).tolist() == [[[0.5, 0.0, 0.0]]]


@pytest.mark.parametrize("sigma_next", [1.0, 0.2, 0.01])
def test_tweedie_is_exact_for_one_token(sigma_next: float) -> None:
    kernel = matrix(ONE, Predict(2.0, 2.0 - sigma_next, "tweedie"))
    assert total_variation(ONE.at(2.0) @ kernel, ONE.at(sigma_next)) < 1e-15


def test_denoising_is_exact_for_one_token() -> None:
    assert total_variation(ONE.at(0.7) @ matrix(ONE, Denoise(0.7)), ONE.law.flatten()) < 1e-15


@pytest.mark.parametrize("predictor", predictors.PREDICTORS)
def test_every_predictor_converges(predictor: str) -> None:
    """One token from sigma 6, where even tokens are .0025 off: what is left falls by 1.8 or more."""
    errors = []
    for nfe in (33, 65, 129):
        settings = Settings(1, 4, "none", predictor)
        errors.append(total_variation(run(ONE, plan_moves(settings, nfe)), ONE.law.flatten()))
    floor = total_variation(run(ONE, plan_moves(Settings(1, 4, "none", "tweedie"), 9)), ONE.law.flatten())
    assert errors[2] < 0.01
    assert predictor == "tweedie" or errors[0] - floor > 1.8 * (errors[1] - floor) > 3 * (errors[2] - floor)
