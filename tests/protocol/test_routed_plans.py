"""Plans of a PARE student: depths that cost what is granted to the FLOP, at every budget there is."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from protocol.calibration import CalibrationPoint
from protocol.catalog import CatalogEntry
from protocol.cost import denoiser_cost, own_cost, price
from protocol.depths import Span, line
from protocol.errors import BudgetTooSmall
from protocol.plan import Plan, make_plan, min_budget
from protocol.sigmas import flow_sigmas
from tests.protocol.entries import WAN_TINY, request, student_entry

STUDENT, TEACHER = student_entry(), student_entry(pare=None)
SIZE = {"width": 32, "height": 32, "num_frames": 9}
OWN, UNPRUNED = own_cost(STUDENT.shapes, **SIZE), denoiser_cost(STUDENT.shapes, **SIZE)
FULL = 28 * 2 * UNPRUNED.evaluation


def plan(budget: Any, entry: CatalogEntry = STUDENT, **given: Any) -> Plan:
    return make_plan(request(entry, compute_budget=budget, **given), entry)


def cost(depths: tuple[int, ...]) -> int:
    """Two lanes of what the pruned network runs."""
    return sum(2 * (OWN.embed + depth * OWN.blocks[0] + OWN.head) for depth in depths)


def share_of(*depths: int) -> float:
    """A budget that pays just so much, and a hair."""
    return cost(depths) / FULL * (1 + 1e-9)


def test_full_compute_is_the_unpruned_models() -> None:
    made = plan(None)
    assert made.full_flop == FULL == price(STUDENT, request(STUDENT)).full_flop
    assert OWN.blocks[0] < UNPRUNED.blocks[0]


def test_unabridged_is_k_max_everywhere() -> None:
    """8.5 rounds up to 9 of 10 blocks; granted is what they cost."""
    made = plan(1.0)
    assert (made.methods, made.depths, made.num_inference_steps) == (("pare",), (9,) * 28, 28)
    assert made.granted_flop == cost((9,) * 28) < made.full_flop
    assert plan(0.99) == plan(None) == made


@pytest.mark.parametrize("methods", [[], ["steps"], ["softcap"], ["static-drop"]])
def test_without_pare_all_blocks_of_the_student_run(methods: list[str]) -> None:
    made = plan({"fraction": 1.0, "methods": methods})
    assert (made.methods, made.depths) == ((), ())
    assert made.granted_flop == cost((10,) * 28)


def test_the_papers_line_at_its_own_price() -> None:
    wanted = line(flow_sigmas(3.0, 28, "unipc"), Span(4.0, 8.5, 9))
    made = plan(share_of(*wanted))
    assert (made.methods, made.depths) == (("pare",), wanted)
    assert made.granted_flop == cost(wanted)
    assert 0.45 < made.granted < 0.6  # "about -50 % at flow shift 3"


def test_depths_fall_with_the_budget_and_cost_what_is_granted() -> None:
    budgets = [percent / 100 for percent in range(100, 35, -1)]
    plans = [plan(budget) for budget in budgets]
    blocks = [sum(made.depths) for made in plans]
    assert blocks == sorted(blocks, reverse=True)
    assert len(set(blocks)) > 20
    for budget, made in zip(budgets, plans, strict=True):
        assert made.granted_flop == cost(made.depths) <= budget * FULL
        assert all(4 <= depth <= 9 for depth in made.depths)


def test_below_the_floor_fewer_steps_of_the_line() -> None:
    """28 evaluations of 4 blocks are the least of the line; half of that is 14 of them and change."""
    floor = plan(share_of(*(4,) * 28))
    assert (floor.methods, floor.depths) == (("pare",), (4,) * 28)
    made = plan(share_of(*(4,) * 14))
    assert made.methods == ("pare", "steps")
    assert (made.num_inference_steps, made.evaluations, made.depths) == (14, 14, (4,) * 14)
    more = plan(share_of(*(4,) * 13, 6))
    assert (more.num_inference_steps, sum(more.depths)) == (14, 58)
    assert more.granted_flop == cost(more.depths)


def test_a_named_solver_takes_the_fewer_steps() -> None:
    made = plan({"fraction": 0.1, "methods": ["pare", "ab2"]})
    assert (made.methods, made.solver) == (("pare", "ab2"), "ab2")
    assert made.num_inference_steps == len(made.depths) < 28


def test_without_another_method_it_runs_shallower_than_it_was_trained_for() -> None:
    made = plan({"fraction": share_of(*(3,) * 28), "methods": ["pare"]})
    assert (made.methods, made.num_inference_steps) == (("pare",), 28)
    assert min(made.depths) == 2
    assert max(made.depths) > 3
    assert sum(made.depths) == 84


@pytest.mark.parametrize("methods", [["pare"], ["pare", "steps"], ["pare", "softcap"], None])
def test_the_least_budget_is_enough_and_less_is_not(methods: list[str] | None) -> None:
    least = cost((2,) * 28) if methods == ["pare"] else cost((2,))
    with pytest.raises(BudgetTooSmall) as caught:
        plan({"fraction": least / FULL * 0.999, "methods": methods})
    told = caught.value.details
    assert told["min_fraction"] == pytest.approx(least / FULL, abs=1e-4)
    for asked in ({"fraction": told["min_fraction"]}, {"tflops": told["min_tflops"]}):
        made = plan({**asked, "methods": methods})
        assert set(made.depths) == {2}


def test_the_model_page_names_the_least_budget() -> None:
    assert plan(min_budget(STUDENT)).depths == (2,)
    assert min_budget(TEACHER) == 0.0358  # one of 28, as ever: nothing is dropped unasked


def test_softcap_over_pare_without_calibration() -> None:
    """Below the line's floor: evaluations at even nodes, as deep as the budget pays; forecasts between."""
    made = plan({"fraction": share_of(*(4,) * 7), "methods": ["pare", "softcap"]})
    assert made.methods == ("pare", "softcap")
    assert (len(made.nodes), made.nodes[0], len(made.depths)) == (7, 0, 28)
    assert made.granted_flop == cost((4,) * 7) == cost(tuple(made.depths[node] for node in made.nodes))


def test_a_cache_that_chooses_its_places_runs_all_as_deep() -> None:
    made = plan({"fraction": share_of(*(4,) * 7), "methods": ["pare", "teacache"]})
    assert (made.methods, made.nodes, made.depths) == (("pare", "teacache"), (), (4,) * 28)
    assert made.granted_flop == cost((4,) * 7)


def test_a_cache_alone_runs_all_blocks() -> None:
    made = plan({"fraction": share_of(*(10,) * 7), "methods": ["softcap"]})
    assert (made.methods, made.depths, len(made.nodes)) == (("softcap",), (), 7)
    assert made.granted_flop == cost((10,) * 7)


def test_ceilings_in_tflops_and_n_samples() -> None:
    whole = price(STUDENT, request(STUDENT, n=3)).full_tflops
    assert plan({"tflops": 0.6 * whole}, n=3) == plan(0.6)
    assert plan({"tflops": 10 * whole}, n=3) == plan(1.0)


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_mode_changes_the_cap_alone(mode: Literal["soft", "hard"]) -> None:
    made = plan({"fraction": 0.5, "mode": mode})
    allowance = 0 if mode == "hard" else int(0.1 * FULL)
    assert made.cap_flop == made.granted_flop + allowance
    assert made.depths == plan(0.5).depths


def test_a_lowered_grant_and_a_larger_clip_are_planned_alike() -> None:
    asked = request(STUDENT, compute_budget={"fraction": 0.8, "floor": 0.3})
    assert make_plan(asked, STUDENT, share=0.5).depths == plan(0.5).depths
    large = plan(0.5, width=64, height=64, num_frames=17)
    assert 0.49 < large.granted <= 0.5


def test_blind_dropping_only_where_it_is_named() -> None:
    """On the teacher: .4 to .85 of the blocks is the line, all ten the ceiling."""
    assert plan(0.5, TEACHER).methods == ("steps",)
    made = plan({"fraction": 0.6, "methods": ["static-drop"]}, TEACHER)
    assert (made.methods, len(made.depths)) == (("static-drop",), 28)
    assert 0.58 < made.granted <= 0.6
    both = plan({"fraction": 0.02, "methods": ["steps", "random-drop"]}, TEACHER)
    assert (both.methods, len(both.depths)) == (("random-drop", "steps"), 1)


def point(method: str, budget: float, distance: float, **given: Any) -> CalibrationPoint:
    fields = {"steps": 28, "spent": budget, "tail": 2 * distance, **given}
    return CalibrationPoint(method=method, budget=budget, distance=distance, **fields)


PARE = (point("pare", 0.4, 0.3), point("pare", 0.6, 0.1))
NODES = (0, 3, 7, 12, 16, 20, 25)
STACK = point("pare+softcap", 0.2, 0.2, nodes=NODES, depths=(6,) * 28, parameters={"path_0": 1})
SOFTCAP = point("softcap", 0.2, 0.25)


def calibrated(*points: CalibrationPoint) -> CatalogEntry:
    return student_entry(calibration="c1", points=points)


def test_between_its_points_pare_takes_the_line_and_its_distance() -> None:
    made = plan(0.5, calibrated(*PARE))
    assert (made.methods, made.calibration) == (("pare",), "c1")
    assert made.depths == plan(0.5).depths
    assert made.expected_distance == pytest.approx(0.2, abs=1e-6)
    assert plan(1.0, calibrated(*PARE)).expected_distance == 0.1


def test_a_point_with_depths_is_taken_as_it_was_measured() -> None:
    own = point("pare", share_of(*(5,) * 28), 0.01, depths=(5,) * 28)
    made = plan(0.9, calibrated(own))
    assert (made.depths, made.granted_flop) == ((5,) * 28, cost((5,) * 28))


def test_the_stack_that_strays_least_is_taken() -> None:
    made = plan(0.3, calibrated(*PARE, STACK, SOFTCAP))
    assert made.methods == ("pare", "softcap")
    assert (made.nodes, made.depths, made.parameters) == (NODES, (6,) * 28, {"path_0": 1})
    assert made.granted_flop == cost((6,) * 7)
    assert plan(0.7, calibrated(*PARE, STACK, SOFTCAP)).methods == ("pare",)


@pytest.mark.parametrize(
    ("methods", "taken"), [(["softcap"], ("softcap",)), (["pare", "softcap"], ("pare", "softcap"))]
)
def test_a_stack_needs_all_its_parts(methods: list[str], taken: tuple[str, ...]) -> None:
    made = plan({"fraction": 0.25, "methods": methods}, calibrated(*PARE, STACK, SOFTCAP))
    assert made.methods == taken


def test_a_stack_whose_cache_chooses_is_granted_its_share() -> None:
    """No nodes: the paths are the cache's; the line says how deep they run."""
    adaptive = point("pare+softcap", 0.25, 0.1, parameters={"path_0": 1, "path_1": 2, "threshold_1": 0.2})
    made = plan(0.3, calibrated(adaptive))
    assert made.granted == pytest.approx(0.25)
    assert made.depths == line(flow_sigmas(3.0, 28, "unipc"), Span(4.0, 8.5, 9))


def test_a_stack_of_router_and_solver() -> None:
    few = point("pare+ab2", share_of(8, 7, 6, 5), 0.1, depths=(8, 7, 6, 5), nodes=(0, 6, 13, 20))
    made = plan(0.3, calibrated(few))
    assert (made.methods, made.solver, made.num_inference_steps) == (("pare", "ab2"), "ab2", 4)
    assert made.fewer_steps
    assert made.granted_flop == cost((8, 7, 6, 5))


def test_a_point_that_costs_more_at_this_size_is_not_offered() -> None:
    """Depths are priced here; a budget they do not fit any more goes to the default."""
    dear = point("pare", 0.3, 0.1, depths=(9,) * 28)
    made = plan(0.4, calibrated(dear))
    assert made.calibration is None
    assert made.granted_flop <= 0.4 * FULL


def test_older_calibrations_keep_their_bytes() -> None:
    assert "depths" not in PARE[0].model_dump_json()
    assert CalibrationPoint.model_validate_json(STACK.model_dump_json()) == STACK


@pytest.mark.parametrize("steps", [1, 2, 4, 28])
@pytest.mark.parametrize("mode", ["soft", "hard"])
@pytest.mark.parametrize(
    "methods", [None, ["pare"], ["pare", "softcap"], ["softcap"], ["steps"], ["random-drop", "pare"]]
)
def test_never_more_than_was_asked_for(steps: int, mode: str, methods: list[str] | None) -> None:
    """Refusals are another test's; see the least budget above."""
    entry = calibrated(*PARE, STACK, SOFTCAP)
    for percent in range(1, 101, 3):
        asked = {"fraction": percent / 100, "methods": methods, "mode": mode}
        try:
            made = plan(asked, entry, num_inference_steps=steps)
        except BudgetTooSmall:
            continue
        assert 0 < made.granted_flop <= percent / 100 * made.full_flop * (1 + 1e-9)
        assert made.granted_flop <= made.cap_flop <= made.full_flop
        assert len(made.depths) in (0, made.evaluations)
        assert all(2 <= depth <= 9 for depth in made.depths)


def test_wan_tiny_is_cut_as_the_issue_says() -> None:
    """The line's mean cost an evaluation is at least 47 % below the unpruned model's."""
    wanted = line(flow_sigmas(3.0, 28, "unipc"), Span(4.0, 8.5, 9))
    assert cost(wanted) < 0.53 * FULL
    assert WAN_TINY.num_blocks == 10
