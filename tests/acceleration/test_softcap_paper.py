"""SoftCap as published: what a correct implementation must show, by number, then settings and company.

Point 8's share of wall time and point 9's rivals need a trained model and a quiet machine: they are
benchmarks. Points 3 and 4 are shown on bare numbers in `test_observer` and `test_controller` as well.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch

from protocol.receipts import Action
from tests.acceleration.softcap_support import (
    MOVED,
    PAPER,
    SKIPPED,
    STEPS,
    AskedTwice,
    Twisted,
    jumps,
    still,
    told,
    toy,
)
from tests.acceleration.support import Curve, Moves, curve_sample, fulls, moved, plan_for, run, run_one
from tests.engine.requests import request
from workers.core import Emit, Row, Stack


@pytest.mark.parametrize("monitor", [0, 1])
@pytest.mark.parametrize("lagged", [0, 1])
def test_point_1_threshold_zero_is_the_uncached_run_bit_for_bit(flux: Any, monitor: int, lagged: int) -> None:
    body = request(num_inference_steps=6)
    parameters = {"tau_min": 0, "tau_max": 0, "monitor": monitor, "lagged": lagged}
    cached = run_one(flux, body, plan_for(flux, body, PAPER, parameters))
    plain = run_one(flux, body)
    assert torch.equal(cached.samples[0].latents, plain.samples[0].latents)
    assert {line.action for line in cached.samples[0].receipt.steps} == {Action.FULL}
    assert cached.samples[0].receipt.spent == plain.samples[0].receipt.spent


@pytest.mark.parametrize("monitor", [0, 1])
def test_point_2_an_unreachable_threshold_leaves_warm_up_and_every_eighth(monitor: int) -> None:
    lines = toy({"tau_min": 1.5, "tau_max": 1.5, "monitor": monitor}, lambda place: place)
    assert fulls(lines) == [0, 1, 9, 17]
    reasons = [line.reason for line in lines]
    assert reasons[:3] == ["warmup", "warmup", "calm"]
    assert reasons[9] == reasons[17] == "max_skip"


def test_point_3_the_risk_of_a_run_is_in_range_and_zero_without_drift(flux: Any) -> None:
    """Features that stand still leave the distance alone: .15 x clip((d / 8) / .5)."""
    lines = toy({"tau_0": 0.9})
    assert [line.risk for line in lines[2:7]] == pytest.approx([0.15 * d / 4 for d in (1, 2, 3, 4, 4)])
    body = request(num_inference_steps=12)
    result = run_one(flux, body, plan_for(flux, body, PAPER, {"gamma": 0.5}))
    risks = [line.risk for line in result.samples[0].receipt.steps if line.risk is not None]
    assert risks
    assert all(0 < risk <= 1 for risk in risks)


def test_point_4_sign_a_larger_cap_never_raises_a_threshold() -> None:
    """Nothing drifts and no guard strikes, so all runs have one history."""
    runs = []
    for cap in (2, 5, 10, 20, 60):
        lines = toy({**MOVED, "cap_steps": cap, "d_max": STEPS, "tau_0": 0.3})
        assert fulls(lines) == [0, 1]
        runs.append([line.threshold for line in lines])
    for smaller, larger in pairwise(runs):
        assert all(high >= low for high, low in zip(smaller, larger, strict=True))
        assert smaller != larger


def test_point_5_full_steps_saturate_as_the_cap_grows_and_exceed_a_small_one() -> None:
    """Three strong crossings (risk 1/2) that every threshold lets through, three weak ones (risk 1/3)."""
    growth = {4: 2.0, 6: 1.5, 8: 2.0, 11: 1.5, 14: 2.0, 17: 1.5}

    def curve(place: float) -> float:
        tokens = 2.0
        for jump, by in growth.items():
            tokens *= by if place >= jump else 1.0
        return tokens - 2.0

    parameters = {**MOVED, "d_max": STEPS, "k_p": 0.05}
    caps = (1, 2, 4, 8, 16, 24, 40, 80)
    counts = [len(fulls(toy({**parameters, "cap_steps": cap}, curve))) for cap in caps]
    assert counts == sorted(counts)
    assert counts[0] == 2 + 3
    assert counts[-3:] == [2 + 6] * 3


def test_point_6_the_log_adds_up() -> None:
    """Jumps at 5, 7 and 12; the guard strikes 4 after the last full one, and is tested first: at 5 too."""
    lines = toy({**MOVED, "tau_0": 0.3, "d_max": 4}, jumps(5, 7, 12))
    assert fulls(lines) == [0, 1, 5, 7, 11, 12, 16]
    counts = Counter(line.reason for line in lines)
    assert counts == {"warmup": 2, "max_skip": 3, "risk": 2, "calm": 13}
    assert [index for index, line in enumerate(lines) if line.reason == "risk"] == [7, 12]


def test_point_6_state_starts_anew_with_every_sample(flux: Any) -> None:
    """Twice in one engine, one after the other: same picture, same lines."""
    body = request(num_inference_steps=12)
    plan = plan_for(flux, body, PAPER, {"tau_0": 0.35, "gamma": 0.5}, granted=0.5)
    first, second = run(flux, [(body, plan), (body, plan)])
    again = run_one(flux, body, plan)
    for other in (second, again):
        assert torch.equal(first.samples[0].latents, other.samples[0].latents)
        assert told(first) == told(other)


def test_point_7_the_forecast_is_exact_on_features_linear_in_the_step_index() -> None:
    """Output 6 + 5 k; exact as soon as there are two anchors."""
    lines = toy({"tau_min": 1.5, "tau_max": 1.5}, lambda place: place)
    assert [line.output for line in lines[1:]] == pytest.approx([6 + 5 * k for k in range(1, STEPS)])


def test_point_7_the_second_order_misses_squares_by_the_spacing() -> None:
    """Anchors at 0, 4, 8, 12: past 8 at a distance x the curve k^2 reads 4 x too little, the output 20 x."""
    parameters = {"tau_min": 1.5, "tau_max": 1.5, "warmup": 1, "d_max": 4, "w_vol": 0}
    lines = toy(parameters, lambda place: place * place)
    for x in (1, 2, 3):
        assert lines[8 + x].output == pytest.approx(6 + 5 * ((8 + x) ** 2 - 4 * x), rel=1e-6)
    first_order = toy({**parameters, "order": 1}, lambda place: place * place)
    # D1 at 8 is (64 - 16) / 4 = 12.
    assert first_order[11].output == pytest.approx(6 + 5 * (64 + 12 * 3))
    assert toy({**parameters, "order": 0}, lambda place: place * place)[11].output == 6 + 5 * 64


def test_point_8_a_batch_is_judged_with_one_host_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control layer's only wait for the device, however many rows ask."""
    network = Curve(still, STEPS)
    samples = [curve_sample(network, PAPER) for _ in range(3)]
    for index, sample in enumerate(samples):
        sample.key = f"toy-{index}"
    cache = samples[0].stack.cache
    assert cache is not None
    rows = [Row(sample, range(index, index + 1)) for index, sample in enumerate(samples)]
    for index in range(2):
        output = torch.ones(1, 32, 1)
        cache.end(rows, [output] * 3, [{3: (output,)}] * 3)
        for sample in samples:
            sample.evaluation = index + 1
    syncs: list[int] = []
    plain = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: syncs.append(1) or plain(tensor))
    assert all(isinstance(verdict, Emit) for verdict in cache.begin(rows))
    assert len(syncs) == 1


def test_point_9_a_fixed_threshold_is_softcap_without_gains() -> None:
    """The controlled rival of the benchmark; with gains the same run has other thresholds."""
    parameters = {**MOVED, "tau_0": 0.3, "d_max": 6, "cap_steps": 3.0}
    network = Curve(jumps(5, 9), STEPS)
    fixed = moved(network, "fixed-threshold", parameters)
    assert fixed == toy({**parameters, "k_p": 0, "k_i": 0}, jumps(5, 9))
    assert {line.threshold for line in fixed} == {0.3}
    assert len({line.threshold for line in toy(parameters, jumps(5, 9))}) > 10
    with pytest.raises(ValueError, match="k_p"):
        moved(network, "fixed-threshold", {"k_p": 0.02})


def test_thresholds_by_hand() -> None:
    """10 steps wanted of 20, two spent in warm-up, nothing after it: e = N - 10 k / 20.

    The integral is held for 0 and 1; then it takes 2 - 1, 2 - 1.5, 2 - 2, ...
    """
    parameters = {**MOVED, "cap_steps": 10, "d_max": STEPS, "tau_0": 0.3, "k_p": 0.02, "k_i": 0.01}
    thresholds = [line.threshold for line in toy(parameters)]
    errors = [0, 0.5, 1, 0.5, 0, -0.5]
    integrals = [0, 0, 1, 1.5, 1.5, 1]
    expected = [0.3 + 0.02 * e + 0.01 * i for e, i in zip(errors, integrals, strict=True)]
    assert thresholds[:6] == pytest.approx(expected)


def test_the_cap_is_what_the_grant_pays() -> None:
    """Five full ones granted: the same thresholds as with `cap_steps` 5."""
    given = {"d_max": STEPS, "tau_0": 0.9}
    named = toy({**given, "cap_steps": 5}, fulls=5)
    assert [line.threshold for line in toy(given, fulls=5)] == [line.threshold for line in named]


def test_the_calibration_gives_curve_and_scales_and_the_plan_overrules_it() -> None:
    """With all spending due before half-time e is 2 - 10 at 10; the distance's scale is 1, then 1/4."""
    tables = {PAPER: {"curve": [0.0, 1.0, 1.0], "scales": [0.5, 0.08, 1.0, 4.0]}}
    parameters = {**SKIPPED, "cap_steps": 10, "d_max": STEPS, "tau_0": 0.9, "k_i": 0}
    del parameters["c_anc"]
    lines = toy(parameters, tables=tables)
    assert lines[10].threshold == pytest.approx(0.9 - 0.02 * 8)
    assert lines[10].risk == pytest.approx(9 / 20)
    overruled = toy({**parameters, "c_anc": 0.9, "tau_min": 0.9}, tables=tables)
    assert overruled[10].risk == pytest.approx(9 / 20 / 0.9)


@pytest.mark.parametrize("table", [{"curve": [0.5, 1.0]}, {"scales": [1.0, 1.0, 0.0, 1.0]}, {"scale": []}])
def test_a_table_of_something_else_is_refused_when_the_stack_is_built(table: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"curve|scale"):
        curve_sample(Curve(still, STEPS), PAPER, tables={PAPER: table})


@pytest.mark.parametrize(
    "parameters",
    [{"order": 3}, {"monitor": 2}, {"tau_min": 0.5, "tau_max": 0.4}, {"tau": 0.3}, {"warmup": 0}],
)
def test_impossible_settings_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"(?s)softcap-paper.*{next(iter(parameters))[:5]}"):
        toy(parameters)


def test_volatility_is_the_first_difference_in_features_a_step() -> None:
    """Before block 3 the features are 5 + 4 k: they change by 4 a step whatever the anchors' spacing."""
    parameters = {"w_mag": 0, "w_dir": 0, "w_anc": 0, "w_vol": 1, "c_vol": 10, "tau_0": 0.9}
    lines = toy(parameters, lambda place: place)
    assert [line.risk for line in lines if line.risk is not None] == pytest.approx([0.4] * 16)


def test_the_monitored_layer_is_the_last_blocks_input_or_the_firsts() -> None:
    """At 4, anchor 1: 2 + k moved from 3 to 6, a half; 5 + 4 k, forecast, from 9 to 21, four sevenths."""
    parameters = {**MOVED, "tau_0": 0.9, "d_max": STEPS}
    assert toy(parameters, lambda place: place)[4].risk == pytest.approx(1 / 2)
    assert toy({**parameters, "monitor": 1}, lambda place: place)[4].risk == pytest.approx(4 / 7)


def test_watching_the_first_block_costs_an_embedding_a_forecast() -> None:
    for monitor, flop in ((0, 1), (1, 0)):
        lines = toy({"tau_0": 0.9, "monitor": monitor})
        assert {line.flop for line in lines if line.action is Action.FORECAST} == {flop}
        assert {line.flop for line in lines if line.action is Action.FULL} == {1 + 4 * 10 + 2}


@pytest.mark.parametrize("monitor", [0, 1])
def test_lagged_decides_on_the_forecast_before(monitor: int) -> None:
    """Risk d / 8 against .3: 3/8 crosses. At once: 3 after the anchor; lagged: 4 after, told of 3/8."""
    parameters = {**SKIPPED, "tau_0": 0.3, "k_p": 0, "k_i": 0, "monitor": monitor}
    assert fulls(toy(parameters)) == [0, 1, 4, 7, 10, 13, 16, 19]
    lines = toy({**parameters, "lagged": 1})
    assert fulls(lines) == [0, 1, 5, 9, 13, 17]
    assert [line.risk for line in lines[2:7]] == [0, 1 / 8, 2 / 8, 3 / 8, 0]


def test_a_rise_of_the_base_score_adds_to_the_risk() -> None:
    """d / 8 rises by 1/8 a step: with gamma 1 the risk at 2, 3 is 1/4, 3/8; then a fall from 2/8 to 1/8."""
    lines = toy({**SKIPPED, "tau_0": 0.37, "k_p": 0, "k_i": 0, "gamma": 1})
    assert [line.risk for line in lines[2:6]] == [2 / 8, 3 / 8, 1 / 8, 3 / 8]
    assert [line.reason for line in lines[2:6]] == ["calm", "risk", "calm", "risk"]


def test_lines_carry_risk_and_threshold_wherever_there_were_any() -> None:
    lines = toy({**MOVED, "d_max": 4}, jumps(7))
    for line in lines:
        assert line.threshold is not None
        assert (line.risk is None) == (line.reason in ("warmup", "max_skip"))
        if line.risk is not None:
            assert (line.risk >= line.threshold) == (line.reason == "risk")


@pytest.mark.parametrize("monitor", [0, 1])
def test_a_guided_sample_is_judged_by_its_first_lane(monitor: int) -> None:
    parameters = {**MOVED, "monitor": monitor, "tau_0": 0.3}
    network = Twisted(jumps(5, 9), STEPS)
    guided = Moves(network).finish(curve_sample(network, PAPER, parameters, lanes=2))
    single = toy(parameters, jumps(5, 9))
    assert [(line.reason, line.risk) for line in guided] == [(line.reason, line.risk) for line in single]
    assert {line.reason for line in single} == {"warmup", "risk", "calm", "max_skip"}


@pytest.mark.parametrize("monitor", [0, 1])
@pytest.mark.parametrize("lagged", [0, 1])
def test_asking_twice_changes_nothing(monitor: int, lagged: int) -> None:
    parameters = {**MOVED, "monitor": monitor, "lagged": lagged, "gamma": 0.5}
    network = Curve(jumps(5, 9), STEPS)
    sample = curve_sample(network, PAPER, parameters)
    sample.stack = Stack(AskedTwice(network.layout))
    assert Moves(network).finish(sample) == toy(parameters, jumps(5, 9))


def test_a_row_in_a_batch_equals_itself_alone_bitwise(flux: Any) -> None:
    """Strangers of all kinds: watched elsewhere, lagged, guided, uncached, under a fixed threshold."""
    body = request(num_inference_steps=14, seed=3)
    guided = request(num_inference_steps=9, seed=5, negative_prompt="a car", guidance_scale=3.0)
    jobs = [
        (body, plan_for(flux, body, PAPER, {"tau_0": 0.4}, granted=0.5)),
        (guided, plan_for(flux, guided, PAPER, {"tau_0": 0.35, "monitor": 0, "gamma": 0.5}, granted=0.6)),
        (body, plan_for(flux, body, PAPER, {"tau_0": 0.3, "lagged": 1, "order": 1}, granted=0.6)),
        (request(num_inference_steps=7, seed=11), None),
        (body, plan_for(flux, body, "fixed-threshold", {"tau_0": 0.2}, granted=0.7)),
    ]
    together = run(flux, jobs)
    for (own, plan), result in zip(jobs, together, strict=True):
        alone = run_one(flux, own, plan)
        assert torch.equal(alone.samples[0].latents, result.samples[0].latents)
        assert told(alone) == told(result)
    reasons = {line.reason for result in together for line in result.samples[0].receipt.steps}
    assert {"warmup", "risk", "calm"} <= reasons
