"""Numbers that belong to a row."""

from __future__ import annotations

import torch

from workers.sampling.discrete.draws import row_keys, uniforms

KEYS = row_keys([1, 2, 3])


def test_a_rows_numbers_are_its_own() -> None:
    together = uniforms(KEYS, 8, 4, "value")
    for row in range(3):
        assert uniforms(KEYS[row : row + 1], 8, 4, "value")[0].equal(together[row])
    assert uniforms(KEYS, 5, 4, "value").equal(together[:, :5])


def test_evaluation_purpose_seed_and_sample_all_count() -> None:
    base = uniforms(KEYS, 8, 4, "value")
    others = [
        uniforms(KEYS, 8, 5, "value"),
        uniforms(KEYS, 8, 4, "site"),
        uniforms(row_keys([4, 5, 6]), 8, 4, "value"),
        uniforms(row_keys([1, 2, 3], sample=1), 8, 4, "value"),
    ]
    assert not any(base.eq(other).any() for other in others)


def test_they_are_even_and_independent() -> None:
    """2,000 rows of 64: mean, variance and neighbours' correlation, along rows and down columns."""
    numbers = uniforms(row_keys(range(2_000)), 64, 0, "value").double()
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.004
    assert abs(numbers.var() - 1 / 12) < 0.002
    for pair in ((numbers[:, 1:], numbers[:, :-1]), (numbers[1:], numbers[:-1])):
        correlation = torch.corrcoef(torch.stack([each.flatten() for each in pair]))[0, 1]
        assert abs(correlation) < 0.015


def test_known_numbers() -> None:
    """Pinned: a job that is resumed by another version must go on with the same draws."""
    assert row_keys([7]).tolist() == [-6570828414615349589]
    assert (uniforms(row_keys([7]), 3, 2, "value") * 2**24).long().tolist() == [[6661978, 6513762, 13834274]]
