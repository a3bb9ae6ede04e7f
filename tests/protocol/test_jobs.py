from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from protocol.budget import ComputeBudget
from protocol.jobs import MAX_PROMPT_CHARACTERS, MAX_SEED, GenerationRequest

NUL, LONE = "a\x00b", "a\ud800b"


def parse(*, top: dict[str, Any] | None = None, **given: Any) -> GenerationRequest:
    body = {"model": "m", "input": {"prompt": "an apple", **given}, **(top or {})}
    return GenerationRequest.model_validate(body)


def test_least_body() -> None:
    request = parse()

    assert request.compute_budget == ComputeBudget()
    assert request.input.n == 1
    assert request.input.seed is None
    assert request.priority == 0
    assert request.on_deadline == "continue"


def test_the_contract_s_body() -> None:
    body = {
        "model": "flux-tiny",
        "input": {
            "prompt": "two red apples on a blue background",
            "negative_prompt": None,
            "width": 64,
            "height": 64,
            "num_frames": None,
            "num_inference_steps": 28,
            "guidance_scale": 3.5,
            "seed": 7,
            "n": 1,
            "image": None,
            "representation": None,
            "given": None,
            "length": None,
        },
        "compute_budget": 0.5,
        "deadline_s": 20,
        "priority": 0,
        "webhook_url": None,
        "metadata": {},
    }

    request = GenerationRequest.model_validate(body)

    assert request.compute_budget == ComputeBudget(fraction=0.5)
    assert request.deadline_s == 20.0
    assert GenerationRequest.model_validate_json(json.dumps(body)) == request


@pytest.mark.parametrize(
    "top",
    [
        {},
        {"compute_budget": 1},
        {"compute_budget": {"fraction": 0.5, "floor": 0.3, "mode": "hard", "methods": ["steps"]}},
        {
            "compute_budget": {"tflops": 12.5},
            "metadata": {"who": "ü"},
            "deadline_s": 0.5,
            "on_deadline": "cancel",
        },
    ],
)
def test_round_trip_as_json(top: dict[str, Any]) -> None:
    """Redis holds requests as JSON; a tuple must come back from a list under strict types."""
    request = parse(top=top, seed=3, representation={"vector": [1.5, 2], "edits": [{"direction": "pca:3"}]})

    assert GenerationRequest.model_validate_json(request.model_dump_json()) == request


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse().model = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "top"),
    [
        ("model", {"model": NUL}),
        ("model", {"model": LONE}),
        ("webhook_url", {"webhook_url": "http://x/\x00"}),
        ("webhook_url", {"webhook_url": LONE}),
        ("metadata", {"metadata": {NUL: "v"}}),
        ("metadata", {"metadata": {LONE: "v"}}),
        ("metadata", {"metadata": {"k": NUL}}),
        ("metadata", {"metadata": {"k": LONE}}),
        ("compute_budget", {"compute_budget": {"methods": [NUL]}}),
        ("compute_budget", {"compute_budget": {"methods": [LONE]}}),
    ],
)
def test_text_that_is_no_text(field: str, top: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(top=top)

    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("text", [NUL, LONE])
@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "image"])
def test_input_text_that_is_no_text(field: str, text: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(**{field: text})

    assert caught.value.errors()[0]["loc"] == ("input", field)


@pytest.mark.parametrize("field", ["representation", "given"])
@pytest.mark.parametrize(
    "value",
    [
        {"image": NUL},
        {LONE: 1},
        {"edits": [{"direction": LONE}]},
        {"interpolate": {"with": {"a\x00": None}}},
        {"vector": [1.0, float("nan")]},
        {"vector": [float("-inf")]},
    ],
)
def test_nested_values_are_searched_to_the_bottom(field: str, value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(**{field: value})

    assert caught.value.errors()[0]["loc"] == ("input", field)


@pytest.mark.parametrize("text", ["", " ", "\n\t", "x" * (MAX_PROMPT_CHARACTERS + 1), 5])
def test_prompts_refused(text: Any) -> None:
    with pytest.raises(ValidationError):
        parse(prompt=text)


@pytest.mark.parametrize("text", ["x", "x" * MAX_PROMPT_CHARACTERS, "🍎 jabłko\n", "\u202e"])
def test_prompts_taken_as_they_are(text: str) -> None:
    assert parse(prompt=text).input.prompt == text


def test_an_empty_negative_prompt_is_one() -> None:
    assert parse(negative_prompt="").input.negative_prompt == ""


def test_length_errors_speak_of_characters() -> None:
    with pytest.raises(ValidationError, match="at most 8192 characters"):
        parse(prompt="x" * (MAX_PROMPT_CHARACTERS + 1))


@pytest.mark.parametrize("name", ["", "m" * 257, 7, None])
def test_model_names_refused(name: Any) -> None:
    with pytest.raises(ValidationError):
        parse(top={"model": name})


@pytest.mark.parametrize(
    ("field", "value"),
    [(name, value) for name in ("width", "height") for value in (0, -8, 65_537, True, 64.0, "64", 10**400)]
    + [("num_inference_steps", value) for value in (0, 100_001, False, 1.0)]
    + [("n", value) for value in (0, 17, True, None)]
    + [("num_frames", 0), ("length", 0), ("given", []), ("representation", "x")]
    + [("guidance_scale", value) for value in (-0.1, 100.1, True, "3", float("nan"), float("inf"), 10**400)]
    + [("seed", value) for value in (-1, MAX_SEED + 1, True, 7.0, "7", float("nan"))],
)
def test_values_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(**{field: value})

    assert caught.value.errors()[0]["loc"] == ("input", field)


@pytest.mark.parametrize(
    ("field", "value"),
    [("deadline_s", value) for value in (0, -1, 86_400.5, True, "5", float("nan"), float("inf"), 10**400)]
    + [("priority", value) for value in (-3, 3, True, 0.0, None)]
    + [("on_deadline", "explode"), ("metadata", {"a": 1}), ("metadata", []), ("input", None)]
    + [("metadata", {str(i): "" for i in range(17)}), ("webhook_url", "x" * 2_049)],
)
def test_top_values_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(top={field: value})

    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize(
    "value", [0, -0.5, 1.0001, 2, True, False, "0.5", [], float("nan"), float("inf"), 10**400]
)
def test_budgets_refused(value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(top={"compute_budget": value})

    assert caught.value.errors()[0]["loc"] == ("compute_budget",)


@pytest.mark.parametrize(("value", "fraction"), [(1, 1.0), (0.25, 0.25), (1e-300, 1e-300)])
def test_a_number_is_a_fraction(value: float, fraction: float) -> None:
    assert parse(top={"compute_budget": value}).compute_budget == ComputeBudget(fraction=fraction)


def test_a_null_budget_is_none_at_all() -> None:
    assert parse(top={"compute_budget": None}) == parse()


@pytest.mark.parametrize(
    ("seed", "n", "fits"), [(MAX_SEED, 1, True), (MAX_SEED, 2, False), (MAX_SEED - 15, 16, True)]
)
def test_every_sample_s_seed_fits(seed: int, n: int, fits: bool) -> None:
    if fits:
        assert parse(seed=seed, n=n).input.seed == seed
    else:
        with pytest.raises(ValidationError, match="seed \\+ n - 1"):
            parse(seed=seed, n=n)


@pytest.mark.parametrize(
    "body", [{"modle": "m"}, {"compute_budget": {"fractoin": 0.5}}, {"input": {"prompt": "a", "cfg": 1}}]
)
def test_unknown_fields_are_named(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(top=body)

    error = caught.value.errors()[0]
    assert error["type"] == "extra_forbidden"
    assert error["loc"][-1] in ("modle", "fractoin", "cfg")
