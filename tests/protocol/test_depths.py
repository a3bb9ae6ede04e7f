"""How deep evaluations run: the line, its height, and the order in which blocks are bought."""

from __future__ import annotations

import pytest

from protocol.cost import DenoiserCost
from protocol.depths import Span, fitted, line, span_of
from protocol.sigmas import flow_sigmas
from tests.protocol.entries import FLUX_DEV, PARE, WAN_1_3B, WAN_TINY
from workers.core.pare_router import depth
from workers.sampling import flow_schedule

COST = DenoiserCost(3, (10,) * 10, 2)
SPAN = Span(4.0, 8.5, 9)
PAPER = Span(20, 35, 35)


def spent(depths: tuple[int, ...], lanes: int = 1) -> int:
    return sum(lanes * COST.of_depth(blocks) for blocks in depths)


def test_the_line_by_hand() -> None:
    """20 + 15 sigma of 40: 35, 27.5 up to 28, 20."""
    assert line((1.0, 0.5, 0.0), PAPER) == (35, 28, 20)
    assert line((1.0, 0.5, 0.0), SPAN) == (9, 6, 4)  # 8.5, 6.25 and 4


def test_the_line_is_the_routers_own() -> None:
    sigmas = tuple(place / 100 for place in range(101))
    assert line(sigmas, PAPER) == tuple(depth(sigma, 20, 35) for sigma in sigmas)
    assert line(sigmas, SPAN) == tuple(depth(sigma, 4, 8.5) for sigma in sigmas)


def test_what_the_line_costs_buys_the_line() -> None:
    sigmas = flow_sigmas(3.0, 28, "unipc")
    wanted = line(sigmas, SPAN)
    assert fitted(sigmas, SPAN, COST, 1, spent(wanted)) == wanted
    assert fitted(sigmas, SPAN, COST, 2, spent(wanted, 2)) == wanted


def test_blocks_are_bought_where_the_rising_line_meets_them_first() -> None:
    """K at sigma 1 and 0 is 8.5 and 4; both begin at 4. Heights: block 5 at 4.5 / 8.5 and 4.5 / 4, block 6 at
    5.5 / 8.5 and 5.5 / 4, and so on; so the noisy one gets all its five (to the ceiling, 9) first.
    """
    floors = spent((4, 4))
    bought = [fitted((1.0, 0.0), SPAN, COST, 1, floors + 10 * more) for more in range(12)]
    assert bought[:7] == [(4, 4), (5, 4), (6, 4), (7, 4), (8, 4), (9, 4), (9, 5)]
    assert bought[9:] == [(9, 8), (9, 9), (9, 9)]


def test_what_is_left_is_less_than_a_block() -> None:
    sigmas = flow_sigmas(3.0, 7, "euler")
    floor, ceiling = spent((4,) * 7), spent((9,) * 7)
    for budget in range(floor, ceiling + 30):
        bought = spent(fitted(sigmas, SPAN, COST, 1, budget))
        assert bought <= budget
        assert bought == ceiling or budget - bought < 10


def test_more_money_never_buys_fewer_blocks_anywhere() -> None:
    sigmas = flow_sigmas(5.0, 9, "unipc")
    before = fitted(sigmas, SPAN, COST, 1, spent((4,) * 9))
    for budget in range(spent((4,) * 9), spent((9,) * 9), 3):
        now = fitted(sigmas, SPAN, COST, 1, budget)
        assert all(more >= less for more, less in zip(now, before, strict=True))
        assert list(now) == sorted(now, reverse=True)  # more noise, more blocks
        before = now


def test_below_the_floor_first_and_last_run_all_the_same() -> None:
    assert fitted((1.0, 0.0), SPAN, COST, 1, spent((2, 2))) == (2, 2)
    assert fitted((1.0, 0.0), SPAN, COST, 1, spent((3, 2))) == (3, 2)
    assert fitted((1.0, 0.0), SPAN, COST, 1, 0) == (2, 2)


def test_a_depth_costs_the_same_whichever_blocks_run() -> None:
    assert COST.of_depth(0) == 5
    assert COST.of_depth(7) == 75
    uneven = DenoiserCost(3, (10, 20), 2)
    assert uneven.of_depth(2) == uneven.evaluation
    with pytest.raises(ValueError, match="do not cost the same"):
        uneven.of_depth(1)


def test_spans_by_model() -> None:
    """A student's own; else .4 and .85 of the blocks, all of which may run."""
    assert span_of(WAN_TINY.model_copy(update={"pare": PARE})) == Span(4.0, 8.5, 9)
    assert span_of(WAN_1_3B) == Span(12.0, 25.5, 30)
    assert span_of(FLUX_DEV).ceiling == 57
    thin = PARE.model_copy(update={"least_blocks": 0.5, "most_blocks": 1.0})
    found = span_of(WAN_TINY.model_copy(update={"pare": thin}))
    assert (found.floor, found.ceiling) == (2, 2)


@pytest.mark.parametrize("steps", [1, 2, 3, 28, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_the_levels_are_the_schedulers(solver: str, shift: float, steps: int) -> None:
    configs = {
        "unipc": {
            "_class_name": "UniPCMultistepScheduler",
            "flow_shift": shift,
            "prediction_type": "flow_prediction",
        },
        "euler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": shift},
    }
    config = {**configs[solver], "use_flow_sigmas": True}
    assert flow_sigmas(shift, steps, solver) == pytest.approx(
        flow_schedule(config, steps, 80).sigmas[:-1], abs=2e-6
    )
