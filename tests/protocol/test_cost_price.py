from __future__ import annotations

import pytest

from protocol.cost import decode_cost, denoiser_cost, encode_cost, evaluations, price, text_cost
from protocol.cost.text import clip_image_cost
from protocol.jobs import GenerationRequest
from protocol.shapes import WanShapes
from tests.protocol.entries import (
    TINY_FLUX,
    WAN_1_3B,
    flux_dev_entry,
    flux_entry,
    request,
    wan_entry,
    wan_image_entry,
)

EVALUATION = denoiser_cost(TINY_FLUX, width=64, height=64).evaluation
TEXT = text_cost(TINY_FLUX)
DECODE = decode_cost(TINY_FLUX, width=64, height=64)


def test_one_sample_one_lane() -> None:
    entry = flux_entry()

    cost = price(entry, request(entry))

    assert cost.per_step_flop == (EVALUATION,) * 28
    assert cost.full_flop == 28 * EVALUATION
    assert cost.other_flop == TEXT + DECODE
    assert cost.full_tflops == pytest.approx(28 * EVALUATION / 1e12)
    assert sum(cost.per_step) == pytest.approx(cost.full_tflops)
    assert cost.other_tflops == pytest.approx((TEXT + DECODE) / 1e12)


def test_samples_multiply_all_but_the_prompt() -> None:
    entry = flux_entry()

    cost = price(entry, request(entry, n=4, num_inference_steps=5))

    assert cost.per_step_flop == (EVALUATION,) * 5
    assert cost.full_flop == 4 * 5 * EVALUATION
    assert cost.other_flop == TEXT + 4 * DECODE


def test_true_guidance_doubles_the_rows_and_encodes_two_prompts() -> None:
    entry = flux_entry()

    cost = price(entry, request(entry, n=2, negative_prompt="fog", num_inference_steps=3))

    assert cost.per_step_flop == (2 * EVALUATION,) * 3
    assert cost.full_flop == 2 * 3 * 2 * EVALUATION
    assert cost.other_flop == 2 * TEXT + 2 * DECODE


def test_guidance_of_one_needs_no_second_lane() -> None:
    entry = flux_entry()

    cost = price(entry, request(entry, negative_prompt="fog", guidance_scale=1.0))

    assert cost.full_flop == 28 * EVALUATION
    assert cost.other_flop == TEXT + DECODE


def test_flux_dev_s_fifty_steps() -> None:
    entry = flux_dev_entry()

    assert price(entry, request(entry)).full_tflops == pytest.approx(3719.5, rel=1e-4)


def test_video_is_priced_by_its_frames() -> None:
    entry = wan_entry()
    cost = price(entry, request(entry, negative_prompt="fog"))
    row = denoiser_cost(WAN_1_3B, width=832, height=480, num_frames=81).evaluation

    assert cost.full_flop == 50 * 2 * row
    assert price(entry, request(entry, num_frames=1)).full_flop < cost.full_flop / 40
    assert cost.other_flop == 2 * text_cost(WAN_1_3B) + decode_cost(
        WAN_1_3B, width=832, height=480, num_frames=81
    )


def test_an_image_to_start_from_is_encoded_once_a_job() -> None:
    entry = wan_image_entry()
    shapes = entry.shapes
    assert isinstance(shapes, WanShapes)
    assert shapes.image_encoder is not None
    size = {"width": 832, "height": 480, "num_frames": 81}

    cost = price(entry, request(entry, n=3, image="aGk="))

    image = clip_image_cost(shapes.image_encoder) + encode_cost(shapes, **size)
    assert cost.other_flop == 2 * text_cost(shapes) + image + 3 * decode_cost(shapes, **size)
    assert cost.per_step_flop == (2 * denoiser_cost(shapes, **size).evaluation,) * 50


def test_price_knows_nothing_of_budgets() -> None:
    entry = flux_entry()

    assert price(entry, request(entry, compute_budget=0.25)) == price(entry, request(entry))


@pytest.mark.parametrize(
    ("solver", "steps", "expected"),
    [
        ("euler", 28, 28),
        ("ab2", 28, 28),
        ("dpmpp-2m", 28, 28),
        ("unipc", 28, 28),
        ("heun", 28, 55),
        ("heun", 1, 1),
    ],
)
def test_evaluations(solver: str, steps: int, expected: int) -> None:
    assert evaluations(solver, steps) == expected


def test_heun_is_priced_by_evaluations() -> None:
    entry = flux_entry(solver="heun")

    assert price(entry, request(entry, num_inference_steps=4)).per_step_flop == (EVALUATION,) * 7


def test_unknown_solver_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'dpm'.*ab2, dpmpp-2m, euler, heun, unipc"):
        evaluations("dpm", 4)


def test_an_unresolved_request_is_our_mistake() -> None:
    raw = GenerationRequest.model_validate({"model": "flux-tiny", "input": {"prompt": "a"}})

    with pytest.raises(AssertionError, match="resolve"):
        price(flux_entry(), raw)
