"""The four losses, by hand."""

from __future__ import annotations

import pytest
import torch

from workers.training.pare.forward import Evaluation, Routes
from workers.training.pare.losses import features_loss, ordinary_tokens, student_loss
from workers.training.pare.settings import LossSettings


def evaluation(velocity: list[float], features: dict[int, torch.Tensor] | None = None) -> Evaluation:
    """One row, one channel, slices of one cell."""
    return Evaluation(torch.tensor(velocity).view(1, 1, -1, 1, 1), features or {})


def test_velocity_terms_by_hand() -> None:
    """Student 1, 2, 4, teacher 1, 3, 3, target 0, 0, 0.

    Against the teacher (0 + 1 + 1) / 3; the target (1 + 4 + 16) / 3; changes 1, 2 against 2, 0: (1 + 4) / 2.
    """
    student, teacher = evaluation([1.0, 2.0, 4.0]), evaluation([1.0, 3.0, 3.0])
    loss = student_loss(student, teacher, torch.zeros(1, 1, 3, 1, 1), None, LossSettings())
    assert loss.item() == pytest.approx(6 * 2 / 3 + 1 * 7 + 8 * 2.5)


def test_one_slice_has_no_changes() -> None:
    loss = student_loss(
        evaluation([2.0]), evaluation([1.0]), torch.zeros(1, 1, 1, 1, 1), None, LossSettings()
    )
    assert loss.item() == pytest.approx(6 * 1 + 1 * 4)


def test_features_are_relative_and_of_the_rows_that_took_the_block() -> None:
    """Teacher all 2, mean square 4. Row 0 is off by 2: relative 1; row 1 by 4: relative 4."""
    teacher = torch.full((2, 3, 2), 2.0)
    student = teacher + torch.tensor([2.0, 4.0]).view(2, 1, 1)
    taught, learned = evaluation([0.0], {1: teacher}), evaluation([0.0], {1: student})
    assert features_loss(learned, taught, None, 3.0).item() == pytest.approx(2.5)
    run = torch.ones(2, 3, dtype=torch.bool)
    gate = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    assert features_loss(learned, taught, Routes(run, gate), 3.0).item() == pytest.approx(1.0)
    nobody = Routes(run, torch.zeros(2, 3))
    assert features_loss(learned, taught, nobody, 3.0).item() == 0.0


def test_nothing_watched_costs_nothing() -> None:
    assert features_loss(evaluation([0.0]), evaluation([0.0]), None, 3.0).item() == 0.0


def test_tokens_beyond_three_deviations_are_left_out() -> None:
    """Norms 1 nineteen times and 101: mean 6, deviation sqrt(95 x 5) = 21.8; 95 away is more than 3 of it."""
    hidden = torch.ones(1, 20, 1)
    hidden[0, 7] = 101.0
    kept = ordinary_tokens(hidden, 3.0)
    assert kept[0, 7] == 0
    assert kept.sum() == 19
    assert ordinary_tokens(hidden, 5.0).sum() == 20
