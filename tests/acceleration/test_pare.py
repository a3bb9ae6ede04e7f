"""PARE's routing on a router worked by hand: which blocks, how many, and under what account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from protocol.receipts import Action
from tests.acceleration.routing import (
    BLOCKS,
    COST,
    LAYOUT,
    calibration,
    fixed_router,
    looking_router,
    point_of,
    routed_plan,
    routed_sample,
    row_of,
)
from workers.acceleration.pare import LogitQuantiles, Pare
from workers.core import Sample
from workers.core.pare_router import DepthRouter

FALLING = [9.0, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 9.0]
"""Of the eight free blocks, 1 to 8, the earlier the higher."""
EVEN = {"sigmas": [0.0, 1.0], "quantiles": [[0.0, 8.0], [0.0, 8.0]]}
"""Logits spread evenly from 0 to 8 at every noise level."""


def on(mask: Sequence[bool]) -> list[int]:
    return [block for block, runs in enumerate(mask) if runs]


def depths_run(router: Pare, sample: Sample, latents: Sequence[torch.Tensor] | None = None) -> list[int]:
    """Run the sample's evaluations to their end on the ledger alone; how many blocks each ran."""
    depths = []
    for place in range(sample.plan.num_inference_steps):
        (mask,) = router.mask([row_of(sample)], [point_of(sample, latents[place] if latents else None)])
        depths.append(sum(mask))
        sample.ledger.spend(COST.of_depth(depths[-1]), Action.ROUTED, 1)
        sample.evaluation += 1
    return depths


def test_the_plans_depths_and_the_highest_logits() -> None:
    router, sample = Pare(LAYOUT, None, fixed_router(FALLING)), routed_sample(routed_plan((5, 3, 2)))
    found = []
    for evaluation in range(3):
        sample.evaluation = evaluation
        (mask,) = router.mask([row_of(sample)], [point_of(sample)])
        found.append(on(mask))
    assert found == [[0, 1, 2, 3, 9], [0, 1, 9], [0, 9]]


def test_asking_changes_nothing() -> None:
    router, sample = Pare(LAYOUT, None, looking_router()), routed_sample(routed_plan((5, 3)))
    asked = [router.mask([row_of(sample)], [point_of(sample)]) for _ in range(2)]
    assert asked[0] == asked[1]
    assert (sample.control, sample.memory, sample.evaluation) == ({}, {}, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_a_row_decides_alone(size: int) -> None:
    """Rows of other depths, noise levels and latents beside it change no row's mask."""
    router = Pare(LAYOUT, None, looking_router())
    samples = [routed_sample(routed_plan((4, 5, 6, 7))) for _ in range(size)]
    points = []
    for place, sample in enumerate(samples):
        sample.evaluation = place % 4
        noise = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(place))
        points.append(point_of(sample, noise))
    together = router.mask([row_of(sample) for sample in samples], points)
    alone = [router.mask([row_of(s)], [p])[0] for s, p in zip(samples, points, strict=True)]
    assert list(together) == alone
    assert [sum(mask) for mask in together] == [4 + place % 4 for place in range(size)]


def test_the_router_is_shown_what_the_network_is_shown() -> None:
    seen: list[tuple[float, torch.Tensor]] = []

    class Witness(DepthRouter):
        def forward(self, timestep: Any, latents: Any, text: Any = None) -> torch.Tensor:
            seen.append((float(timestep), latents))
            return super().forward(timestep, latents, text)

    sample, latents = routed_sample(routed_plan((5, 5))), torch.randn(1, 4, 3, 4, 4)
    Pare(LAYOUT, None, Witness(torch.zeros(BLOCKS), 4).eval()).mask(
        [row_of(sample)], [point_of(sample, latents)]
    )
    assert seen[0][0] == 1000.0
    assert torch.equal(seen[0][1], latents)


def test_a_threshold_by_hand() -> None:
    """At sigma 0 from 0 to 4, at 1 from 0 to 8; a quarter of the blocks reach 3, 6, and 4.5 half way."""
    table = LogitQuantiles(sigmas=(0.0, 1.0), quantiles=((0.0, 2.0, 4.0), (0.0, 4.0, 8.0)))
    assert table.threshold(0.0, 0.25) == 3.0
    assert table.threshold(1.0, 0.25) == 6.0
    assert table.threshold(0.5, 0.25) == 4.5
    assert table.threshold(0.5, 0.0) == 6.0
    assert table.threshold(0.5, 1.0) == 0.0
    single = LogitQuantiles(sigmas=(0.5,), quantiles=((0.0, 1.0),))
    assert [single.threshold(sigma, 0.25) for sigma in (0.0, 0.5, 1.0)] == [0.75] * 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sigmas": [0.5, 0.5], "quantiles": [[0, 1], [0, 1]]}, "do not rise"),
        ({"sigmas": [0.5], "quantiles": [[0, 1], [0, 1]]}, "a noise level"),
        ({"sigmas": [0.5], "quantiles": [[1, 0]]}, "must not fall"),
        ({"sigmas": [0.5], "quantiles": [[0]]}, "at least two"),
    ],
)
def test_a_table_of_another_shape_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pare(LAYOUT, calibration({"pare": table}), fixed_router(FALLING))


@pytest.mark.parametrize(
    ("adaptivity", "depths"),
    # Planned 6: half of the eight free blocks, so the threshold is the median, 4, and three logits reach it:
    # 5 asked. Planned 4: a quarter, threshold 6, none: 2. Planned 8: threshold 2, seven: 9, which what the
    # first two left pays. Half way: 5.5 up to 6, 3, 8.5 up to 9.
    [(0.0, [6, 4, 8]), (1.0, [5, 2, 9]), (0.5, [6, 3, 9])],
)
def test_how_far_the_depth_follows_the_logits(adaptivity: float, depths: list[int]) -> None:
    router = Pare(LAYOUT, calibration({"pare": EVEN}), fixed_router(FALLING))
    sample = routed_sample(routed_plan((6, 4, 8), parameters={"adaptivity": adaptivity}))
    assert depths_run(router, sample) == depths


def test_a_hard_run_borrows_nothing_and_a_soft_one_the_allowance() -> None:
    """All logits high: ten blocks asked at every evaluation. Planned 5, 5, 5 of 10 blocks, 105 FLOP whole, so
    the allowance of 31 FLOP is three blocks of 10."""
    router = Pare(LAYOUT, calibration({"pare": EVEN}), fixed_router([9.0] * BLOCKS))
    hard, soft = (
        routed_sample(routed_plan((5, 5, 5), parameters={"adaptivity": 1.0}, mode=mode))
        for mode in ("hard", "soft")
    )
    assert depths_run(router, hard) == [5, 5, 5]
    assert depths_run(router, soft) == [8, 5, 5]
    assert hard.ledger.spent_flop == hard.plan.granted_flop
    assert soft.ledger.spent_flop <= soft.plan.cap_flop == soft.plan.granted_flop + 31


def test_what_a_calm_start_saves_may_be_spent_later() -> None:
    router = Pare(
        LAYOUT,
        calibration({"pare": {"sigmas": [0.5, 1.0], "quantiles": [[0, 8], [9.5, 10]]}}),
        fixed_router([9.0] * BLOCKS),
    )
    sample = routed_sample(routed_plan((5, 5), parameters={"adaptivity": 1.0}))
    assert depths_run(router, sample) == [2, 8]  # above no threshold at sigma 1, above all at .5


def noisy(seed: int) -> list[torch.Tensor]:
    """Latents of one run: a still picture, and motion of a strength of the run's own on top of it."""
    generator = torch.Generator().manual_seed(seed)
    still, motion = torch.randn(1, 4, 1, 4, 4, generator=generator), torch.rand((), generator=generator)
    return [still + motion * torch.randn(1, 4, 3, 4, 4, generator=generator) for _ in range(4)]


def quantiles_of(learned: DepthRouter, runs: range) -> dict[str, Any]:
    """The table as a calibration would make it: pooled free logits at each noise level."""
    sample, rows = routed_sample(routed_plan((5,) * 4)), {}
    for evaluation in range(4):
        sample.evaluation = evaluation
        point = point_of(sample)
        timestep = torch.full((len(runs),), point.timestep)
        latents = torch.cat([noisy(run)[evaluation] for run in runs])
        logits = learned(timestep, latents)[:, 1:-1].flatten()
        rows[point.sigma] = torch.quantile(logits, torch.linspace(0, 1, 33)).tolist()
    return {"sigmas": sorted(rows), "quantiles": [rows[sigma] for sigma in sorted(rows)]}


@torch.inference_mode()
def test_easy_inputs_cost_less_than_hard_ones_at_the_planned_mean() -> None:
    """On inputs the table was not made from: the mean within a block of the plan's, some well to each side.

    Soft, so that the hard ones may spend; an allowance of 10 % is four blocks a run here.
    """
    learned = looking_router()
    router = Pare(LAYOUT, calibration({"pare": quantiles_of(learned, range(32))}), learned)
    sums = {}
    for adaptivity in (0.0, 1.0):
        plan = routed_plan((7, 6, 5, 5), mode="soft", parameters={"adaptivity": adaptivity})
        sums[adaptivity] = [sum(depths_run(router, routed_sample(plan), noisy(run))) for run in range(32, 56)]
    assert set(sums[0.0]) == {23}
    followed = torch.tensor(sums[1.0], dtype=torch.float32)
    assert abs(float(followed.mean()) - 23) < 1.0
    assert followed.max() - followed.min() >= 4


@pytest.mark.parametrize("mode", ["soft", "hard"])
@torch.inference_mode()
def test_the_account_holds_whatever_the_logits(mode: str) -> None:
    for seed in range(5):
        learned = looking_router(seed)
        router = Pare(LAYOUT, calibration({"pare": quantiles_of(looking_router(99), range(4))}), learned)
        plan = routed_plan((7, 6, 5, 5), mode=mode, parameters={"adaptivity": 1.0})
        sample = routed_sample(plan)
        depths = depths_run(router, sample, noisy(seed))
        assert all(2 <= depth <= BLOCKS for depth in depths)
        assert sample.ledger.spent_flop <= plan.cap_flop
