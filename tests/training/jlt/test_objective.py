"""The losses of the two targets, the levels, and an oracle for which the target cannot matter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workers.core import PREDICTION_TYPES, from_flow, to_flow
from workers.training.jlt.objective import levels, loss_of
from workers.training.jlt.sampling import heun
from workers.training.jlt.settings import JltTrainingSettings

FLOW, X0, EPS = PREDICTION_TYPES


def draws(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, noise, output = torch.randn(3, rows, 4, 8, generator=generator)
    return clean, noise, output


@pytest.mark.parametrize(
    ("sigma", "factor"), [(0.9, 1 / 0.81), (0.5, 4.0), (0.06, 1 / 0.0036), (0.01, 400.0), (0.0, 400.0)]
)
def test_the_loss_of_x0_is_its_error_over_sigma_squared_and_at_most_400(sigma: float, factor: float) -> None:
    """Without the clamp the factor at .01 would be 10^4."""
    clean, noise, output = draws(16)
    loss = loss_of(X0, output, clean, noise, torch.full((16,), sigma), clamp=0.05)
    assert loss.item() == pytest.approx(factor * (output - clean).square().mean().item(), rel=1e-4)


def test_the_loss_of_a_flow_is_plain() -> None:
    clean, noise, output = draws(16)
    loss = loss_of(FLOW, output, clean, noise, torch.full((16,), 0.01), clamp=0.05)
    assert loss.item() == pytest.approx((output - (noise - clean)).square().mean().item())


def test_eps_divides_by_the_share_of_data() -> None:
    """sigma .75: 1 / .25^2 = 16."""
    clean, noise, output = draws(16)
    loss = loss_of(EPS, output, clean, noise, torch.full((16,), 0.75), clamp=0.05)
    assert loss.item() == pytest.approx(16 * (output - noise).square().mean().item(), rel=1e-4)


def test_levels_are_jlts() -> None:
    """1 - sigma has median sigmoid(-.8) = .310 and, a deviation above, sigmoid(0) = 1/2: 84.1 % below it."""
    shares = 1 - levels(40_000, torch.Generator().manual_seed(0), JltTrainingSettings())
    assert shares.median().item() == pytest.approx(0.310, abs=0.01)
    assert (shares < 0.5).float().mean().item() == pytest.approx(0.841, abs=0.01)


def oracle_flow(latents: Tensor, sigma: float, variances: Tensor) -> Tensor:
    """E[eps - x0 | x] for data N(0, variances): (sigma - (1 - sigma) lam) x / D."""
    share = 1 - sigma
    return (sigma - share * variances) / (share**2 * variances + sigma**2) * latents


def test_under_the_exact_posterior_both_targets_draw_the_same() -> None:
    """The x0 oracle is t lam x / D, by itself and not by way of the flow. The ends have the data's variances.

    Of 400,000 numbers a variance is known to .5 %; 60 steps of Heun's are nearer than that.
    """
    variances = torch.tensor([4.0, 1.0, 0.25, 0.01])
    noise = torch.randn(100_000, 1, 4, generator=torch.Generator().manual_seed(1))

    def by_x0(latents: Tensor, sigma: float) -> Tensor:
        share = 1 - sigma
        clean = share * variances / (share**2 * variances + sigma**2) * latents
        return to_flow(X0, clean, latents, sigma)

    by_flow = heun(lambda latents, sigma: oracle_flow(latents, sigma, variances), noise, 60)
    torch.testing.assert_close(heun(by_x0, noise, 60), by_flow, rtol=1e-3, atol=1e-3)
    assert by_flow.var((0, 1)).tolist() == pytest.approx(variances.tolist(), rel=0.05)


@pytest.mark.parametrize("sigma", [0.2, 0.7])
@pytest.mark.parametrize("variance", [2.0, 0.1])
def test_the_posterior_variances_by_monte_carlo(sigma: float, variance: float) -> None:
    """Var(x0|x) = lam s^2 / D, Var(eps|x) = t^2 lam / D, Var(v|x) = lam / D: what the oracle leaves."""
    generator = torch.Generator().manual_seed(2)
    clean, noise = torch.randn(2, 200_000, generator=generator)
    clean, share = variance**0.5 * clean, 1 - sigma
    latents = share * clean + sigma * noise
    flow = oracle_flow(latents, sigma, torch.tensor(variance))
    scale = variance / (share**2 * variance + sigma**2)
    truth = {X0: (clean, sigma**2), EPS: (noise, share**2), FLOW: (noise - clean, 1.0)}
    for prediction, (target, factor) in truth.items():
        rest = target - from_flow(prediction, flow, latents, sigma)
        assert rest.var().item() == pytest.approx(scale * factor, rel=0.02)


def test_heun_makes_2n_minus_1_evaluations_and_lands_by_eulers_step() -> None:
    """dx/dsigma = sigma from 1: two steps end at 1/2 by Heun's .375 and then Euler's .5 x .5 = .25."""
    seen: list[float] = []

    def velocity(latents: Tensor, sigma: float) -> Tensor:
        seen.append(sigma)
        return torch.full_like(latents, sigma)

    end = heun(velocity, torch.ones(1, 1, 1), 2)
    assert seen == [1.0, 0.5, 0.5]
    assert end.item() == pytest.approx(1 - 0.375 - 0.25)
