"""Which heads and neurons stay, by hand."""

from __future__ import annotations

import pytest
import torch

from workers.models.wan import Wan
from workers.training.pare.calibration import calibrate
from workers.training.pare.pruning import (
    best,
    diverse,
    evenness_removed,
    kept_heads,
    kept_neurons,
    protected,
    select,
)
from workers.training.pare.settings import CalibrationSettings, PruningSettings
from workers.training.pare.sources import ClipSource

SETTINGS = PruningSettings()


def test_roles_do_not_depend_on_how_many_slices_there_are() -> None:
    """r' is 0 for even attention over 5 or 21 slices and 1 within one; .265 of 5 slices is r = .412."""
    for slices in (5, 21):
        assert evenness_removed(torch.tensor([1 / slices, 1.0]), slices).tolist() == pytest.approx(
            [0.0, 1.0], abs=1e-6
        )
    assert evenness_removed(torch.tensor(0.412), 5).item() == pytest.approx(0.265)
    assert evenness_removed(torch.ones(2), 1).isnan().all()


def test_protection_flips_an_order_below_its_factor_and_not_above() -> None:
    """Head 1 is temporal. 1 against 1.4 is turned round by 1.5; 1 against 1.6 is not."""
    roles = torch.tensor([0.9, 0.2])
    for other, first in ((1.4, 1), (1.6, 0)):
        scores = protected(torch.tensor([other, 1.0]), roles, 5, SETTINGS)
        assert scores.tolist() == pytest.approx([other, 1.5])
        assert best(scores, 1) == (first,)
        assert best(scores[None][0], 2) == (0, 1)
    unprotected = PruningSettings(protection=1.0)
    assert best(protected(torch.tensor([1.4, 1.0]), roles, 5, unprotected), 1) == (0,)


@pytest.mark.parametrize("factor", [1.0, 1.5, 100.0])
def test_protection_never_changes_how_many_stay(factor: float) -> None:
    scores = torch.rand(10, generator=torch.Generator().manual_seed(0))
    roles = torch.linspace(0.1, 1.0, 10)
    raised = protected(scores, roles, 5, PruningSettings(protection=factor))
    assert len(best(raised, kept_heads(10, 0.7))) == 7


@pytest.mark.parametrize(
    ("count", "share", "kept"),
    # The paper's 40 heads keep 28 and never fewer than 8; wan-tiny's 10 keep 7 and never fewer than 2.
    [(40, 0.7, 28), (40, 0.1, 8), (40, 0.0, 8), (10, 0.7, 7), (10, 0.05, 2), (12, 0.7, 9), (10, 1.0, 10)],
)
def test_heads_kept(count: int, share: float, kept: int) -> None:
    assert kept_heads(count, share) == kept


@pytest.mark.parametrize(
    ("count", "share", "kept"),
    [(13824, 0.7, 9728), (448, 0.7, 320), (96, 0.7, 64), (8960, 0.7, 6272), (448, 1.0, 448), (64, 0.1, 32)],
)
def test_neurons_kept(count: int, share: float, kept: int) -> None:
    assert kept_neurons(count, share) == kept


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Six neurons in three identical pairs (0 and 1, 2 and 3, 4 and 5) at right angles, falling in size."""
    up = torch.zeros(6, 4)
    for neuron in range(6):
        up[neuron, neuron // 2] = 3.0 - neuron // 2
    return up, up.T.clone()


def test_of_each_identical_pair_one_stays_while_the_target_allows() -> None:
    up, down = pairs()
    assert diverse(up, down, 3, 0.9, 0.02) == (0, 2, 4)
    assert diverse(up, down, 2, 0.9, 0.02) == (0, 2)
    # Four cannot be had without a twin: the most important of those passed over comes back.
    assert diverse(up, down, 4, 0.9, 0.02) == (0, 1, 2, 4)
    assert diverse(up, down, 6, 0.9, 0.02) == (0, 1, 2, 3, 4, 5)


def test_without_diversity_the_largest_stay() -> None:
    assert diverse(*pairs(), 3, 1.0, 0.02) == (0, 1, 2)


def test_the_limit_is_relaxed_no_further_than_needed() -> None:
    """Neuron 1 is at cosine .95 to neuron 0, neuron 2 its twin. Of the two, .96 lets in neuron 1 alone."""
    angle = torch.acos(torch.tensor(0.95))
    up = torch.tensor([[1.0, 0.0], [float(angle.cos()), float(angle.sin())], [1.0, 0.0]])
    assert diverse(up, up.T.clone(), 2, 0.9, 0.02) == (0, 1)


def test_importance_is_the_product_of_both_norms() -> None:
    """Norms 1 x 8, 4 x 3 and 3 x 3: the second, then the third, then the first."""
    up = torch.diag(torch.tensor([1.0, 4.0, 3.0]))
    down = torch.diag(torch.tensor([8.0, 3.0, 3.0]))
    assert diverse(up, down, 1, 0.9, 0.02) == (1,)
    assert diverse(up, down, 2, 0.9, 0.02) == (1, 2)


def test_every_block_keeps_as_much_and_magnitudes_need_no_data(teacher: Wan, source: ClipSource) -> None:
    transformer = teacher.pipeline.transformer
    found = calibrate(transformer, source, CalibrationSettings(samples=2, bins=1, batch=2), seed=0)
    measured = select(transformer, found, SETTINGS)
    magnitude = select(transformer, None, PruningSettings(scores="magnitude", similarity=1.0))
    assert [block.counts for block in measured] == [block.counts for block in magnitude] == [(3, 3, 320)] * 4
    assert measured != magnitude
    everything = select(transformer, found, PruningSettings(kept_share=1.0))
    assert [block.counts for block in everything] == [(4, 4, 448)] * 4
