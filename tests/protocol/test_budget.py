from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from protocol.budget import ComputeBudget


def test_default_is_everything() -> None:
    assert ComputeBudget().share_of(1_000) == 1.0


@pytest.mark.parametrize(
    ("budget", "share"),
    [
        (ComputeBudget(fraction=0.35), 0.35),
        (ComputeBudget(tflops=1.0), 0.25),  # 1 TFLOP = 10^6 MFLOP of 4 x 10^6
        (ComputeBudget(tflops=4.0), 1.0),
        (ComputeBudget(tflops=40.0), 1.0),
        (ComputeBudget(tflops=1e308), 1.0),
    ],
)
def test_share_of_four_tflops(budget: ComputeBudget, share: float) -> None:
    assert budget.share_of(4 * 10**6) == share


@pytest.mark.parametrize(
    "fields",
    [
        {"fraction": 0.0},
        {"fraction": 1.01},
        {"fraction": float("nan")},
        {"fraction": True},
        {"fraction": "0.5"},
        {"floor": 0},
        {"floor": float("inf")},
        {"tflops": 0.0},
        {"tflops": -1},
        {"tflops": float("inf")},
        {"tflops": float("nan")},
        {"mode": "medium"},
        {"mode": None},
        {"methods": "steps"},
        {"methods": [1]},
        {"methods": {"steps": 1}},
        {"methods": ["m"] * 17},
        {"unknown": 1},
    ],
)
def test_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        ComputeBudget.model_validate(fields)

    assert caught.value.errors()[0]["loc"][0] == next(iter(fields))


def test_one_ceiling_only() -> None:
    with pytest.raises(ValidationError, match="either fraction or tflops"):
        ComputeBudget(fraction=0.5, tflops=1.0)


def test_floor_up_to_the_ceiling() -> None:
    assert ComputeBudget(fraction=0.5, floor=0.5).floor == 0.5
    assert ComputeBudget(floor=1.0).floor == 1.0
    with pytest.raises(ValidationError, match="floor must not be above"):
        ComputeBudget(fraction=0.5, floor=0.51)


def test_methods_may_be_an_empty_list() -> None:
    assert ComputeBudget.model_validate({"methods": []}).methods == ()
