"""SoftCap on paths written by hand. The toy's output is 6 + 5 c(k), its sigmas fall evenly from 1."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from protocol.receipts import Action
from tests.acceleration.fitted_paths import linear
from tests.acceleration.support import Curve, Line, Moves, curve_sample, fulls, moved
from workers.core import Condition, Sample

STEPS = 10
NODES = ((0, 2, 6), (0, 1, 4, 7), (0, 1, 3, 5, 7))
"""Where the runs of calm, hard and very hard prompts are full."""
LADDER: dict[str, float] = {"path_0": 0, "path_1": 1, "path_2": 2}
TOKENS, POOLED = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[3.0]])
"""A prompt's embeddings. Their features: (1 + 0) / 2, (0 + 2) / 2 and 3."""
RISK = 1.75
"""Of that prompt: 2 x .5 - 1 x 1 + .5 x 3 + .25."""
TABLE: dict[str, Any] = {
    "softcap": {
        "paths": [linear(nodes, STEPS) for nodes in NODES],
        "weights": [2.0, -1.0, 0.5],
        "offset": 0.25,
    }
}


def prompted(
    network: Curve, parameters: dict[str, float], tokens: torch.Tensor = TOKENS, **given: Any
) -> Sample:
    """A toy sample with a prompt; that of a second lane is all zeros."""
    sample = curve_sample(network, "softcap", parameters, **{"tables": TABLE, **given})
    told, silent = Condition((tokens, POOLED)), Condition((0 * TOKENS, 0 * POOLED))
    sample.lanes = (told, silent)[: sample.num_lanes]
    return sample


def toy(parameters: dict[str, float], **given: Any) -> list[Line]:
    network = Curve(float, STEPS)
    return Moves(network).finish(prompted(network, parameters, **given))


def soft(sample: Sample) -> Sample:
    sample.plan = sample.plan.model_copy(update={"mode": "soft"})
    return sample


@pytest.mark.parametrize("path", [0, 1, 2])
def test_full_exactly_at_the_path_s_nodes(path: int) -> None:
    lines = toy({"path_0": path})
    assert fulls(lines) == list(NODES[path])
    assert {line.action for line in lines} == {Action.FULL, Action.FORECAST}
    assert {line.reason for line in lines} == {"schedule"}
    assert {(line.risk, line.threshold) for line in lines} == {(None, None)}


def test_a_gap_s_velocity_by_hand() -> None:
    """Anchors 0, 1, 4 say 6, 11, 26; the gaps are -.1, -.3, -.6 long.

    2 x 6 = 12; -6 + 2 x 11 = 16; -11 + 2 x 26 = 41. Each anchor's own step takes the gap's velocity too, not
    what was just evaluated.
    """
    path = {"nodes": [0, 1, 4], "weights": [[2.0], [-1.0, 2.0], [-1.0, 2.0]]}
    network = Curve(float, STEPS)
    sample = curve_sample(network, "softcap", {"path_0": 0}, tables={"softcap": {"paths": [path]}})
    lines = Moves(network).finish(sample)
    assert [line.output for line in lines] == pytest.approx([12, 16, 16, 16, *(41,) * 6])
    assert sample.latents.flatten().tolist() == pytest.approx([1 - 1.2 - 4.8 - 24.6] * 32)


def test_a_gap_is_made_of_the_last_four_outputs() -> None:
    """At anchor 4 the first output is forgotten: .2 x 11 + 26 = 28.2."""
    rows = [[1.0], [0, 1.0], [0, 0, 1.0], [0, 0, 0, 1.0], [0.2, 0, 0, 1.0]]
    path = {"nodes": [0, 1, 2, 3, 4], "weights": rows}
    lines = toy({"path_0": 0}, tables={"softcap": {"paths": [path]}})
    assert [line.output for line in lines[:4]] == pytest.approx([6, 11, 16, 21])
    assert [line.output for line in lines[4:]] == pytest.approx([28.2] * 6)


@pytest.mark.parametrize(
    ("first", "second", "branch"),
    [(2.0, 2.0, 0), (1.5, 2.0, 1), (RISK, 1e9, 1), (RISK + 1e-9, 1e9, 0), (-3.0, RISK, 2)],
)
def test_the_risk_decides_the_path(first: float, second: float, branch: int) -> None:
    """Known with the first evaluation. Lines show the threshold crossed, or the first that was not."""
    lines = toy({**LADDER, "threshold_1": first, "threshold_2": second})
    assert fulls(lines) == list(NODES[branch])
    assert (lines[0].risk, lines[0].threshold) == (None, None)
    assert {line.risk for line in lines[1:]} == {math.exp(RISK)}
    assert {line.threshold for line in lines[1:]} == {math.exp(min(10, second if branch == 2 else first))}


@pytest.mark.parametrize(("threshold", "later"), [(1.0, "risk"), (2.0, "schedule")])
def test_reasons(threshold: float, later: str) -> None:
    """Anchors stand where the calm path has them, or where the risk put them."""
    lines = toy({"path_0": 0, "path_1": 1, "threshold_1": threshold})
    anchors = [line.reason for line in lines if line.action is Action.FULL]
    assert anchors[0] == "schedule"
    assert set(anchors[1:]) == {later}
    assert {line.reason for line in lines if line.action is Action.FORECAST} == {"schedule"}


def test_a_path_s_own_weights_hold_from_the_first_step_on() -> None:
    """One goes on at the first output, 6, and the other at twice that."""
    calm = {"nodes": [0], "weights": [[1.0]]}
    hard = {"nodes": [0, 5], "weights": [[2.0], [0.0, 1.0]]}
    tables = {"softcap": {**TABLE["softcap"], "paths": [calm, hard]}}
    for threshold, first in ((1.0, 12.0), (2.0, 6.0)):
        lines = toy({"path_0": 0, "path_1": 1, "threshold_1": threshold}, tables=tables)
        assert [line.output for line in lines[:5]] == pytest.approx([first] * 5)


@pytest.mark.parametrize(("paid", "branch"), [(3, 0), (4, 1), (5, 2), (4.9, 1)])
def test_a_branch_that_the_plan_cannot_pay_is_not_taken(paid: float, branch: int) -> None:
    """The risk asks for five full evaluations; an evaluation of the toy costs 43."""
    lines = toy({**LADDER, "threshold_1": 0.1, "threshold_2": 0.2}, fulls=paid)
    assert fulls(lines) == list(NODES[branch])
    assert sum(line.flop for line in lines) == 43 * len(NODES[branch]) <= 43 * paid


@pytest.mark.parametrize(("granted", "branch"), [(2.5, 0), (3, 1), (3.5, 1), (4, 2)])
def test_soft_mode_may_take_a_tenth_of_full_more(granted: float, branch: int) -> None:
    """A tenth of ten evaluations is one."""
    network = Curve(float, STEPS)
    sample = soft(prompted(network, {**LADDER, "threshold_1": 0.1, "threshold_2": 0.2}, fulls=granted))
    lines = Moves(network).finish(sample)
    assert fulls(lines) == list(NODES[branch])
    assert sum(line.flop for line in lines) <= sample.plan.cap_flop == int(granted * 43) + 43


def test_an_anchor_that_cannot_be_paid_is_forecast() -> None:
    """Two of the path's three: the gap before goes on, and the line says why."""
    lines = toy({"path_0": 0}, fulls=2)
    assert fulls(lines) == [0, 2]
    assert lines[6].reason == "guard_denied"
    assert {line.output for line in lines[2:]} == {lines[2].output}


def test_two_lanes_decide_by_the_first() -> None:
    """The other lane's risk is the offset, .25, and 1 that of both lanes together."""
    lines = toy({"path_0": 0, "path_1": 1, "threshold_1": 1.5}, lanes=2)
    assert fulls(lines) == list(NODES[1])
    assert lines[1].risk == math.exp(RISK)


def test_without_calibration_linear_forecasts_at_the_plan_s_nodes() -> None:
    """c = k x k: 6 and 11 at 0 and 1 make 16, 21, 26; then 86 at 4 with 11 at 1 adds 25 a step."""
    lines = moved(Curve(lambda k: k * k, 7), "softcap", nodes=(0, 1, 5))
    assert fulls(lines) == [0, 1, 5]
    assert [line.output for line in lines] == pytest.approx([6, 11, 16, 21, 26, 131, 161])
    assert {line.reason for line in lines} == {"schedule"}


def test_the_first_evaluation_is_full_whatever_the_nodes() -> None:
    for nodes in ((), (2, 3)):
        assert fulls(moved(Curve(float, 5), "softcap", nodes=nodes)) == [0, *nodes]


def test_embeddings_that_are_not_finite_still_have_a_finite_risk() -> None:
    """A receipt carries no NaN; that the sample failed is found at its end."""
    lines = toy({"path_0": 0, "path_1": 1, "threshold_1": 0.5}, tokens=float("nan") * TOKENS)
    assert lines[1].risk == math.exp(10)


def test_without_a_choice_nothing_is_decided() -> None:
    """A calibration of paths alone has no weights for a risk, and none is asked for."""
    tables = {"softcap": {"paths": TABLE["softcap"]["paths"]}}
    lines = toy({"path_0": 1}, tables=tables)
    assert fulls(lines) == list(NODES[1])
    assert {line.risk for line in lines} == {None}


WRONG = [
    {"path": []},
    {"paths": [{"nodes": [0]}]},
    {"paths": [{"nodes": [], "weights": []}]},
    {"paths": [{"nodes": [1, 2], "weights": [[-0.1], [-0.1]]}]},
    {"paths": [{"nodes": [0, 2, 2], "weights": [[-0.1], [-0.1], [-0.1]]}]},
    {"paths": [{"nodes": [0, 2], "weights": [[-0.1]]}]},
    {"paths": [{"nodes": [0, 2], "weights": [[-0.1], []]}]},
    {"paths": [{"nodes": [0], "weights": [[float("nan")]]}]},
    {"weights": [float("inf")]},
    {"paths": [{"nodes": [0, 2], "weights": [[-0.1], [0.1, 0.1, -0.1]]}]},
]


@pytest.mark.parametrize("table", WRONG, ids=str)
def test_a_table_of_something_else_is_refused_when_the_stack_is_built(table: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"path|nodes|weights"):
        curve_sample(Curve(float, STEPS), "softcap", tables={"softcap": table})


def test_forecasts_do_not_survive_their_sample() -> None:
    """One cache for both; the second one's path is another, and its lines are those of a fresh cache."""
    network = Curve(float, STEPS)
    first, second = (prompted(network, {"path_0": path}) for path in (2, 0))
    second.stack = first.stack
    Moves(network).finish(first)
    assert (second.memory, second.control) == ({}, {})
    assert Moves(network).finish(second) == toy({"path_0": 0})
