from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from protocol.receipts import Action, PlanSummary, Receipt, SampleReceipt, StepLine, Totals

LINE = StepLine(index=0, action=Action.FULL, blocks_run=8, blocks_total=8, tflops=0.5, seconds=0.01)
SAMPLE = SampleReceipt(
    seed=7,
    granted=1.0,
    spent=1.0,
    nfe=2,
    plan=PlanSummary(methods=("steps",), num_inference_steps=2, solver="euler"),
    steps=(LINE, LINE.model_copy(update={"index": 1})),
)
RECEIPT = Receipt(
    budget=0.5,
    granted=0.5,
    spent=0.5,
    full_tflops=2.0,
    tflops=1.0,
    other_tflops=0.2,
    nfe=2,
    wall_s=0.3,
    samples=(SAMPLE,),
)


def test_round_trip() -> None:
    assert Receipt.model_validate_json(RECEIPT.model_dump_json()) == RECEIPT


def test_totals_are_the_receipt_without_its_samples() -> None:
    totals = RECEIPT.totals

    assert type(totals) is Totals
    assert totals.model_dump() == RECEIPT.model_dump(exclude={"samples"})


def test_the_contract_s_names() -> None:
    receipt = json.loads(RECEIPT.model_dump_json())

    assert set(receipt) >= {
        "budget", "granted", "spent", "full_tflops", "tflops", "other_tflops", "inherited", "nfe", "wall_s",
        "samples",
    }  # fmt: skip
    assert set(receipt["samples"][0]) == {"seed", "granted", "spent", "nfe", "plan", "steps", "output"}
    assert set(receipt["samples"][0]["steps"][0]) >= {
        "index", "action", "blocks_run", "blocks_total", "tflops", "seconds", "risk", "threshold",
    }  # fmt: skip
    assert receipt["samples"][0]["plan"]["methods"] == ["steps"]


def test_totals_of_a_job_stay_small() -> None:
    """Redis keeps at most 2 kB a job of this; the figures are the widest that floats get."""
    wide = 1.2345678901234567e-300
    totals = Totals(
        budget=wide, granted=wide, spent=wide, full_tflops=wide, tflops=wide, other_tflops=wide,
        inherited=wide, lost_tflops=wide, nfe=10**6, wall_s=wide,
    )  # fmt: skip

    assert len(totals.model_dump_json()) < 500


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(ValidationError, match="spent"):
        Receipt.model_validate({**RECEIPT.model_dump(), "spent": value})
    with pytest.raises(ValidationError, match="risk"):
        StepLine.model_validate({**LINE.model_dump(), "risk": value})


def test_actions_are_a_closed_set() -> None:
    assert [action.value for action in Action] == ["full", "routed", "partial", "forecast"]
    with pytest.raises(ValidationError, match="action"):
        StepLine.model_validate({**LINE.model_dump(), "action": "skipped"})
