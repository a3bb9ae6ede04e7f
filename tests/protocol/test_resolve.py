from __future__ import annotations

from typing import Any

import pytest

from protocol.catalog import FrameLimits
from protocol.errors import InvalidRequest
from protocol.jobs import MAX_SEED, GenerationRequest
from protocol.resolve import draw_seed, lanes, resolve, seeds
from tests.protocol.entries import (
    flux_dev_entry,
    flux_entry,
    request,
    text_entry,
    wan_entry,
    wan_image_entry,
)


def refused(
    entry_changes: dict[str, Any] | None = None, *, budget: Any = None, **given: Any
) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        request(flux_entry(**(entry_changes or {})), compute_budget=budget, **given)
    return caught.value


def test_defaults_are_filled_in() -> None:
    given = request(flux_entry()).input

    assert (given.width, given.height, given.num_inference_steps, given.num_frames) == (64, 64, 28, None)
    assert given.guidance_scale is None  # true guidance needs a negative prompt
    assert given.seed is not None


def test_what_was_given_stays() -> None:
    given = request(flux_entry(), width=32, height=128, num_inference_steps=4, seed=0, n=3).input

    assert (given.width, given.height, given.num_inference_steps, given.seed, given.n) == (32, 128, 4, 0, 3)


def test_resolving_twice_changes_nothing() -> None:
    for entry, fields in (
        (flux_entry(), {"negative_prompt": "fog"}),
        (flux_dev_entry(), {}),
        (wan_entry(), {}),
        (text_entry(), {"given": {"prefix": "a big", "spans": [{"start": 9, "text": "j"}]}, "length": 20}),
    ):
        once = request(entry, **fields)

        assert resolve(once, entry) == once
        assert resolve(GenerationRequest.model_validate_json(once.model_dump_json()), entry) == once


def test_a_text_has_a_length_and_no_size() -> None:
    given = request(text_entry()).input
    assert (given.length, given.width, given.height, given.num_inference_steps) == (128, None, None, 16)
    assert request(text_entry(), length=3).input.length == 3


def test_pictures_need_a_prompt_and_texts_take_none() -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(GenerationRequest.model_validate({"model": "x", "input": {}}), flux_entry())
    assert (caught.value.param, caught.value.code) == ("input.prompt", "missing_field")
    with pytest.raises(InvalidRequest) as caught:
        request(text_entry(), prompt="a")
    assert caught.value.param == "input.prompt"


def test_the_caller_s_request_is_left_alone() -> None:
    raw = GenerationRequest.model_validate({"model": "alias", "input": {"prompt": "a"}})

    resolved = resolve(raw, flux_entry())

    assert raw.model == "alias"
    assert raw.input.seed is None
    assert resolved.model == "flux-tiny"


@pytest.mark.parametrize(
    ("entry", "given", "expected"),
    [
        (flux_entry(), {}, 1),
        (flux_entry(), {"negative_prompt": "fog"}, 2),
        (flux_entry(), {"negative_prompt": ""}, 2),
        (flux_entry(), {"negative_prompt": "fog", "guidance_scale": 1.0}, 1),
        (flux_entry(), {"negative_prompt": "fog", "guidance_scale": 0.0}, 1),
        (flux_entry(), {"negative_prompt": "fog", "guidance_scale": 1.01}, 2),
        (flux_dev_entry(), {}, 1),
        (flux_dev_entry(), {"guidance_scale": 7.0}, 1),
        (wan_entry(), {"negative_prompt": "fog"}, 2),
    ],
)
def test_lanes(entry: Any, given: dict[str, Any], expected: int) -> None:
    assert lanes(request(entry, **given), entry) == expected


def test_guidance_default_where_it_has_an_effect() -> None:
    assert request(flux_entry(), negative_prompt="fog").input.guidance_scale == 3.5
    assert request(flux_dev_entry()).input.guidance_scale == 3.5
    assert request(flux_dev_entry(), guidance_scale=0.0).input.guidance_scale == 0.0


def test_guidance_without_effect_is_refused() -> None:
    assert refused(guidance_scale=3.5).param == "input.guidance_scale"
    assert refused({"embedded_guidance": True}, negative_prompt="fog").param == "input.negative_prompt"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_frames", 9),
        ("image", "data:"),
        ("representation", {"vector": []}),
        ("given", {"prefix": "a"}),
        ("length", 64),
    ],
)
def test_foreign_fields_are_named_with_what_is_allowed(field: str, value: Any) -> None:
    error = refused(**{field: value})

    assert error.param == f"input.{field}"
    assert error.status == 422
    assert "prompt" in error.details["allowed"]  # type: ignore[operator]
    assert field not in error.details["allowed"]  # type: ignore[operator]


def test_a_foreign_field_that_is_null_is_as_if_left_out() -> None:
    assert request(flux_entry(), num_frames=None, image=None).input.num_frames is None


@pytest.mark.parametrize(
    ("given", "param", "allowed"),
    [
        ({"width": 65}, "input.width", [64, 72]),
        ({"height": 127}, "input.height", [120, 128]),
        ({"width": 24}, "input.width", {"min": 32, "max": 128}),
        ({"height": 136}, "input.height", {"min": 32, "max": 128}),
        ({"width": 128, "height": 128}, "input.width", {"max_pixels": 64 * 128}),
        ({"num_inference_steps": 101}, "input.num_inference_steps", {"min": 1, "max": 100}),
        ({"n": 5}, "input.n", {"min": 1, "max": 4}),
    ],
)
def test_ranges(given: dict[str, Any], param: str, allowed: Any) -> None:
    error = refused(**given)

    assert (error.param, error.details["allowed"]) == (param, allowed)


def test_borders_are_legal() -> None:
    for given in (
        {"width": 32, "height": 32},
        {"width": 128},
        {"height": 128},
        {"num_inference_steps": 100},
        {"n": 4},
    ):
        request(flux_entry(), **given)


@pytest.mark.parametrize(
    ("count", "allowed"),
    [(2, [1, 5]), (80, [77, 81]), (24, [21, 25]), (82, {"min": 1, "max": 81}), (85, {"min": 1, "max": 81})],
)
def test_illegal_frame_counts_name_the_next_legal_ones(count: int, allowed: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(wan_entry(), num_frames=count)

    assert (caught.value.param, caught.value.details["allowed"]) == ("input.num_frames", allowed)


def test_no_frame_count_beyond_the_limit_is_offered() -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(wan_entry(frames=FrameLimits(multiple=4, max_frames=83)), num_frames=82)

    assert caught.value.details["allowed"] == [81]


def test_legal_frame_counts() -> None:
    limits = FrameLimits(multiple=4, max_frames=13)

    assert list(limits.legal) == [1, 5, 9, 13]
    for count in limits.legal:
        assert request(wan_entry(frames=limits), num_frames=count).input.num_frames == count
    assert request(wan_entry()).input.num_frames == 81


def test_what_a_model_needs_is_asked_for_by_name() -> None:
    entry = wan_image_entry()
    with pytest.raises(InvalidRequest) as caught:
        request(entry)

    assert (caught.value.param, caught.value.code) == ("input.image", "missing_field")
    assert request(entry, image="aGk=").input.image == "aGk="


def test_an_always_guided_model_needs_no_negative_prompt() -> None:
    entry = wan_entry(always_guided=True)
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        ({}, 2),
        ({"negative_prompt": "fog"}, 2),
        ({"guidance_scale": 7.5}, 2),
        ({"guidance_scale": 1.0}, 1),
        ({"guidance_scale": 0.0}, 1),
    )
    for given, expected in cases:
        assert lanes(request(entry, **given), entry) == expected
    assert request(entry).input.guidance_scale == 5.0
    once = request(entry)
    assert resolve(once, entry) == once


def test_methods_the_model_lacks() -> None:
    error = refused(budget={"fraction": 0.5, "methods": ["steps", "softcap"]})

    assert error.param == "compute_budget.methods"
    assert error.details["allowed"] == ["steps"]


def test_messages_never_hold_what_the_caller_wrote() -> None:
    secret = "s3cr3t"
    for error in (
        refused(image=secret),
        refused(budget={"methods": [secret]}),
        refused(given={"prefix": secret}),
    ):
        assert secret not in error.message + str(error.details) + str(error.param)


def test_drawn_seeds_leave_room_for_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda limit: limit - 1)

    assert draw_seed(1) == MAX_SEED
    assert draw_seed(16) + 15 == MAX_SEED


def test_seeds_count_up() -> None:
    assert list(seeds(request(flux_entry(), seed=7, n=3))) == [7, 8, 9]
    assert request(flux_entry()).input.seed != request(flux_entry()).input.seed
