"""Routers by name, what they refuse, and the two that look at nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from protocol import methods
from tests.acceleration.routing import (
    BLOCKS,
    LAYOUT,
    calibration,
    fixed_router,
    point_of,
    routed_plan,
    routed_sample,
    row_of,
)
from workers.acceleration import Methods, registry
from workers.acceleration.random_drop import RandomDrop
from workers.acceleration.routed import PlannedRouter
from workers.acceleration.static_drop import StaticDrop, even_blocks
from workers.core import Sample

LEARNED = fixed_router([0.0] * BLOCKS)


def on(router: Any, sample: Sample) -> tuple[int, ...]:
    (mask,) = router.mask([row_of(sample)], [point_of(sample)])
    return tuple(block for block, runs in enumerate(mask) if runs)


def test_the_registry_has_the_routers_a_budget_may_name() -> None:
    assert tuple(registry.ROUTERS) == methods.ROUTERS == (methods.LEARNED, *methods.DROPS)
    assert not set(methods.ROUTERS) & {*methods.CACHES, *methods.FEWER_STEPS}


@pytest.mark.parametrize("method", methods.ROUTERS)
def test_every_router_can_be_built_and_is_made_once(method: str) -> None:
    built = Methods(LAYOUT, None, LEARNED)
    stack = built.stack(routed_plan((5, 4), method))
    assert isinstance(stack.router, PlannedRouter)
    assert stack.cache is None
    assert built.stack(routed_plan((3, 3), method)).router is stack.router


def test_router_and_cache_and_fewer_steps_are_one_stack() -> None:
    plan = routed_plan((5, 4), methods=("pare", "teacache", "ab2"), parameters={"threshold": 0.2})
    stack = Methods(LAYOUT, None, LEARNED).stack(plan)
    assert stack.cache is not None
    assert stack.router is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": ()}, "0 depths for 2 evaluations"),
        ({"depths": (5,)}, "1 depths for 2 evaluations"),
        ({"depths": (5, 11)}, "of a network of 10 blocks"),
        ({"depths": (5, 1)}, "of a network of 10 blocks"),
        ({"parameters": {"adaptivty": 0.5}}, "adaptivty"),
        ({"parameters": {"adaptivity": 1.5}}, "adaptivity"),
        ({"parameters": {"adaptivity": 0.5}}, "needs a calibration"),
        ({"solver": "heun"}, "does not go with heun"),
        ({"methods": ("pare", "teacache"), "parameters": {"adaptivity": 0.5}}, "(?s)teacache.*adaptivity"),
        ({"methods": ("pare", "static-drop")}, "at most one cache and one router"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Methods(LAYOUT, None, LEARNED).stack(routed_plan((5, 4), **change))


def test_a_checkpoint_without_a_router_has_no_pare() -> None:
    with pytest.raises(ValueError, match="no router of its own"):
        Methods(LAYOUT).stack(routed_plan((5, 4)))
    assert Methods(LAYOUT).stack(routed_plan((5, 4), "random-drop")).router is not None


@pytest.mark.parametrize(
    ("depth", "blocks"),
    # Every 9 / (K - 1): 4.5 up to 5; 3; 2.25, 4.5, 6.75.
    [(2, (0, 9)), (3, (0, 5, 9)), (4, (0, 3, 6, 9)), (5, (0, 2, 5, 7, 9)), (10, tuple(range(10)))],
)
def test_even_spacing_by_hand(depth: int, blocks: tuple[int, ...]) -> None:
    assert even_blocks(depth, BLOCKS) == blocks
    assert on(StaticDrop(LAYOUT), routed_sample(routed_plan((depth,), "static-drop"))) == blocks


def test_even_spacing_never_doubles_a_block() -> None:
    for num_blocks in range(2, 45):
        for depth in range(2, num_blocks + 1):
            blocks = even_blocks(depth, num_blocks)
            assert (len(set(blocks)), blocks[0], blocks[-1]) == (depth, 0, num_blocks - 1)


def test_a_calibrated_ranking_says_which_blocks_stay() -> None:
    """Best first; the first and the last run wherever they stand in it."""
    table = {"static-drop": {"ranking": [4, 7, 0, 1, 2, 3, 5, 6, 8, 9]}}
    router = StaticDrop(LAYOUT, calibration(table))
    kept = [on(router, routed_sample(routed_plan((depth,), "static-drop"))) for depth in (2, 3, 4, 5)]
    assert kept == [(0, 9), (0, 4, 9), (0, 4, 7, 9), (0, 1, 4, 7, 9)]
    with pytest.raises(ValueError, match="is not one of 10 blocks"):
        StaticDrop(LAYOUT, calibration({"static-drop": {"ranking": [1, 1]}}))


def test_a_draw_is_the_seeds_and_the_evaluations_own() -> None:
    router = RandomDrop(LAYOUT)

    def drawn(seed: int, evaluation: int) -> tuple[int, ...]:
        sample = routed_sample(routed_plan((5,) * 8, "random-drop"), seed)
        sample.evaluation = evaluation
        return on(router, sample)

    assert drawn(7, 1) == drawn(7, 1)
    assert len({drawn(7, evaluation) for evaluation in range(8)}) > 4
    assert len({drawn(seed, 0) for seed in range(8)}) > 4
    assert all(len(drawn(seed, 0)) == 5 for seed in range(20))


def test_all_free_blocks_have_the_same_chance() -> None:
    """3 of 8 for 200 seeds: 75 each, deviation 6.8; beyond 5 of them by chance once in a million or so."""
    router, counts = RandomDrop(LAYOUT), Counter[int]()
    for seed in range(200):
        counts.update(on(router, routed_sample(routed_plan((5,), "random-drop"), seed)))
    assert counts[0] == counts[9] == 200
    assert all(abs(counts[block] - 75) < 35 for block in range(1, 9))
