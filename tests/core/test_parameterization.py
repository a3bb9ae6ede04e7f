"""x0, eps and flow into each other, with numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from workers.core import PREDICTION_TYPES, Layout, Prediction, from_flow, head_flow, to_flow

FLOW, X0, EPS = PREDICTION_TYPES


def number(value: float) -> torch.Tensor:
    return torch.tensor([[[value]]])


def test_by_hand() -> None:
    """Data 3 and noise -1 at sigma .25: x = .75 x 3 - .25 = 2, and the flow is -1 - 3 = -4."""
    for prediction, output in ((FLOW, -4.0), (X0, 3.0), (EPS, -1.0)):
        assert to_flow(prediction, number(output), number(2.0), 0.25).item() == -4
        assert from_flow(prediction, number(-4.0), number(2.0), 0.25).item() == output


@pytest.mark.parametrize("sigma", [0.05, 0.25, 0.5, 0.77, 0.95])
@pytest.mark.parametrize("prediction", list(PREDICTION_TYPES))
def test_round_trips_are_exact_to_rounding(prediction: Prediction, sigma: float) -> None:
    """The largest divisor, .05, makes a rounding of 2^-24 twenty times as large."""
    generator = torch.Generator().manual_seed(0)
    output, latents = torch.randn(2, 5, 7, generator=generator), torch.randn(1, 5, 7, generator=generator)
    flow = to_flow(prediction, output, latents, sigma)
    assert (from_flow(prediction, flow, latents, sigma) - output).abs().max() < 2e-6
    assert (
        to_flow(prediction, from_flow(prediction, output, latents, sigma), latents, sigma) - output
    ).abs().max() < 2e-5


def test_all_three_describe_one_point() -> None:
    """eps by way of the flow is what solving x = (1 - sigma) x0 + sigma eps gives: (2 - .75 x 3) / .25."""
    flow = to_flow(X0, number(3.0), number(2.0), 0.25)
    assert from_flow(EPS, flow, number(2.0), 0.25).item() == (2 - 0.75 * 3) / 0.25


def test_the_clamp_is_the_least_divisor() -> None:
    """x0 4 at x 5 and sigma .02: 1 / .02 = 50 as it is, 1 / .05 = 20 clamped. eps alike on the other side."""
    assert to_flow(X0, number(4.0), number(5.0), 0.02).item() == pytest.approx(50)
    assert to_flow(X0, number(4.0), number(5.0), 0.02, 0.05).item() == pytest.approx(20)
    assert to_flow(X0, number(4.0), number(5.0), 0.2, 0.05).item() == pytest.approx(5)
    assert to_flow(EPS, number(5.0), number(4.0), 0.98, 0.05).item() == pytest.approx(20)
    assert to_flow(EPS, number(5.0), number(4.0), 1.0, 0.05).item() == pytest.approx(20)


def test_rows_have_levels_of_their_own() -> None:
    levels = torch.tensor([0.5, 0.01]).view(2, 1, 1)
    latents = torch.tensor([2.0, 1.5]).view(2, 1, 1)
    told = to_flow(X0, torch.ones(2, 1, 1), latents, levels, 0.05)
    assert told.flatten().tolist() == pytest.approx([2, 10])


@pytest.mark.parametrize("prediction", [X0, EPS])
def test_rounded_once_to_the_outputs_dtype(prediction: Prediction) -> None:
    generator = torch.Generator().manual_seed(1)
    output, latents = torch.randn(2, 1, 4, 8, generator=generator).bfloat16()
    told = to_flow(prediction, output, latents, 0.3)
    assert told.dtype is torch.bfloat16
    assert torch.equal(told, to_flow(prediction, output.float(), latents.float(), 0.3).bfloat16())


def test_a_flow_is_not_touched() -> None:
    output = number(1.0).bfloat16()
    assert to_flow(FLOW, output, number(3.0), 0.0) is output
    assert from_flow(FLOW, output, number(3.0), 0.0) is output


def test_guidance_before_or_after_is_the_same() -> None:
    """Scale 3 of x0 4 and 2 is 8; at x 5, sigma .5, its flow is -6. Flows 2 and 6: 6 + 3 (2 - 6) = -6."""
    cond, uncond = (to_flow(X0, number(each), number(5.0), 0.5).item() for each in (4.0, 2.0))
    assert (cond, uncond) == (2, 6)
    assert to_flow(X0, number(8.0), number(5.0), 0.5).item() == uncond + 3 * (cond - uncond) == -6


def test_a_layouts_head_is_converted_with_its_clamp() -> None:
    layout = Layout(1, 1, X0, lambda grid: None, clamp=0.05)  # type: ignore[arg-type, return-value]
    assert head_flow(layout)(number(4.0), number(5.0), 0.02).item() == pytest.approx(20)
