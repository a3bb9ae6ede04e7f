"""The report's arithmetic on outcomes whose answers are known by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.quality_vs_compute.arms import Arm, Group, peer_line
from benchmarks.quality_vs_compute.collect import Outcome
from benchmarks.quality_vs_compute.frontier import interpolated, least_share
from benchmarks.quality_vs_compute.markdown import page
from benchmarks.quality_vs_compute.peers import Peer
from benchmarks.quality_vs_compute.plot import lines
from benchmarks.quality_vs_compute.report import against, aims, judged, paired, ratios, rows, safety


def points(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"share": share, "mean": mean} for share, mean in pairs]


def outcome(line: str, group: Group, latent: Any, share: float, budget: float = 0.0, **more: Any) -> Outcome:
    """An arm with these distances and as few other columns as the report takes."""
    distances = np.asarray(latent, dtype=float)
    count = len(distances)
    request = {"fraction": budget} if budget else {}
    peer = None if group in ("reference", "ours", "rival") else Peer(line.split()[1], {"threshold": share})
    name = f"{line}@{budget:g}" if budget else f"{line}-{share:g}"
    columns: dict[str, Any] = {
        "latent": distances,
        "spent": np.full(count, share),
        "seconds": np.full(count, 2 * share),
        "nfe": np.full(count, 28 * share),
        "actions": np.tile([10, 0, 0, 18], (count, 1)),
        "psnr": np.full(count, np.inf),
        "ssim": np.ones(count),
        "object": np.ones(count, bool),
        "everything": np.ones(count, bool),
        "confidence": np.full(count, 0.9),
        **more,
    }
    return Outcome(Arm(name, line, group, count, count, request, peer), columns)


def lite(latent: Any, share: float) -> Outcome:
    return outcome(peer_line("diffusers", "taylorseer_lite"), "diffusers", latent, share)


def full(count: int, **more: Any) -> Outcome:
    made = outcome("full", "reference", np.zeros(count), 1.0, **more)
    columns = {
        name: column for name, column in made.columns.items() if name not in ("latent", "psnr", "ssim")
    }
    return Outcome(Arm("full", "full", "reference", count, count), columns)


def test_between_two_settings_the_distance_is_geometric() -> None:
    """Half way from .1 to .001 is .01; a quarter of the way, 10^-1.5. The .25 point is beaten by the .2."""
    settings = points((0.4, 0.001), (0.2, 0.1), (0.25, 0.2))
    assert interpolated(settings, 0.3) == pytest.approx(0.01)
    assert interpolated(settings, 0.25) == pytest.approx(10**-1.5)
    assert interpolated(settings, 0.2) == pytest.approx(0.1)


def test_beyond_the_front() -> None:
    """Cheaper than the cheapest is out of reach; with compute to spare the last setting still stands."""
    settings = points((0.4, 0.001), (0.2, 0.1))
    assert interpolated(settings, 0.19) is None
    assert interpolated(settings, 0.9) == 0.001
    assert interpolated([], 0.5) is None
    assert least_share(settings) == 0.2
    assert least_share([]) is None


def test_ratio_at_equal_flops() -> None:
    """Ours .005 at .3, where the rivals' front is at .01: half. None of them is within .03 of it."""
    ours = outcome("ours", "ours", [0.004, 0.006], 0.3, 0.35)
    found = against(ours, [lite([0.1, 0.1], 0.2), lite([0.001, 0.001], 0.4)])
    assert found["ratio"] == pytest.approx(0.5)
    assert found["rival"] == pytest.approx(0.01)
    assert found["paired"] is None


def test_a_near_setting_is_compared_pair_by_pair() -> None:
    """At .32 each pair is twice ours, so every draw's ratio is one half; the worse .31 is not chosen."""
    ours = outcome("ours", "ours", [0.01, 0.02, 0.06], 0.3, 0.35)
    found = against(ours, [lite([0.02, 0.04, 0.12], 0.32), lite([0.1, 0.1, 0.1], 0.31)])
    near = found["paired"]
    assert near["share"] == 0.32
    for figure in ("mean", "tail"):
        assert [near[figure][end] for end in ("low", "estimate", "high")] == pytest.approx([0.5] * 3)


def test_a_rival_out_of_reach_has_no_ratio_but_its_least_share() -> None:
    found = against(outcome("ours", "ours", [0.1], 0.2, 0.2), [lite([0.2], 0.5)])
    assert (found["ratio"], found["rival"], found["least_share"]) == (None, None, 0.5)


def test_a_rival_of_fewer_pairs_is_held_against_ours_on_those() -> None:
    """Its one pair is three times ours there, so it counts as 3 x .2 on all, though its own mean is .3."""
    ours = outcome("ours", "ours", [0.1, 0.3], 0.3, 0.35)
    found = against(ours, [lite([0.3], 0.3)])
    assert found["rival"] == pytest.approx(0.6)
    assert found["ratio"] == pytest.approx(1 / 3)
    assert found["paired"]["pairs"] == 1


def test_searched_static_is_compared_in_mean_and_tail() -> None:
    """40 pairs, the tail is the worst two: .1 against .4; sums 38 x .01 + .2 and 38 x .01 + .8."""
    calm = [0.01] * 38
    ours = outcome("ours", "ours", [*calm, 0.1, 0.1], 0.35, 0.35)
    static = outcome("static", "rival", [*calm, 0.4, 0.4], 0.35, 0.35)
    found = paired(ours, static)
    assert found is not None
    assert found["tail"]["estimate"] == pytest.approx(0.25)
    assert found["mean"]["estimate"] == pytest.approx(0.58 / 1.18)
    assert found["mean"]["low"] < 0.58 / 1.18 < found["mean"]["high"]
    assert paired(ours, None) is None


def test_row() -> None:
    """Time: 2 x .35 s over 2 s. Distances 1 ... 100 thousandths: 99th percentile .09901, tail 96 ... 100."""
    ours = outcome("ours", "ours", np.arange(1, 101) / 1000, 0.35, 0.35, ode=np.array([0.2, 0.4]))
    base, figures = rows({"full": full(100), "ours": ours})
    assert base["spent"] == 1
    assert base["budget"] is None
    assert figures["time"] == pytest.approx(0.35)
    assert figures["mean"] == pytest.approx(0.0505)
    assert figures["p99"] == pytest.approx(0.09901)
    assert figures["tail"] == pytest.approx(0.098)
    assert figures["worst"] == pytest.approx(0.1)
    assert figures["ode"] == pytest.approx(0.3)
    assert figures["psnr"] == 100
    assert figures["actions"] == {"full": 10, "routed": 0, "partial": 0, "forecast": 18}
    assert figures["kid_real"] is None


def test_a_peers_time_is_held_against_the_pipeline_on_the_same_pairs() -> None:
    """The pipeline has one pair of 4 s, the peer's first took 2 s; its second, of 10 s, does not count."""
    plain = Outcome(
        Arm("plain", "plain", "reference", 1, 0, peer=Peer("plain")),
        outcome("plain", "reference", [0.0], 1.0, seconds=np.array([4.0])).columns,
    )
    peer = outcome("diffusers magcache", "diffusers", [0.1, 0.1], 0.5, seconds=np.array([2.0, 10.0]))
    figures = rows({"full": full(2), "plain": plain, "peer": peer})[-1]
    assert figures["time"] == 0.5
    assert figures["nfe"] is None


def judge_case(count: int, lost: int) -> dict[str, Any]:
    right = np.ones(count, bool)
    missed = right.copy()
    missed[:lost] = False
    ours = outcome("ours", "ours", np.zeros(count), 0.35, 0.35, everything=missed)
    return judged({"full": full(count), "ours@0.35": ours})["everything"]


def test_judge() -> None:
    """2,000 pairs without a difference are enough for a margin of one point, 100 are not; nor are 30 lost."""
    assert judge_case(2000, 0)["holds"]
    assert not judge_case(100, 0)["holds"]
    assert not judge_case(2000, 30)["holds"]
    assert judge_case(2000, 30)["difference"] == -0.015


def test_safety_and_aims() -> None:
    """Exactly .15 is not beyond it; at .2 an image beyond it is told, but breaks no promise."""
    calm = outcome("ours", "ours", [0.15, 0.01], 0.35, 0.35)
    wild = outcome("ours", "ours", [0.2, 0.01], 0.2, 0.2)
    safe = safety({"a": calm, "b": wild})
    assert [(each["far"], each["worst"]) for each in safe] == [(0, 0.15), (1, 0.2)]
    static = outcome("static", "rival", [0.1, 0.02], 0.35, 0.35)
    compared = ratios({"ours@0.35": calm, "static@0.35": static}, (0.35, 0.2))
    met = {each["aim"]: each["met"] for each in aims(compared, {}, safe)}
    assert met == {
        "peers at 0.35: mean": None,
        "static at 0.35: mean": False,
        "static at 0.35: tail": False,
        "images beyond 0.15 at 0.35": True,
    }


def test_page_marks_peers_that_cannot_go_so_low() -> None:
    ours = outcome("ours", "ours", [0.01, 0.02], 0.3, 0.35)
    dear = outcome("cache-dit dbprune", "cache-dit", [0.2, 0.2], 0.5)
    near = lite([0.05, 0.05], 0.33)
    found = {"full": full(2), "ours@0.35": ours, "dear": dear, "near": near}
    table, compared, safe = rows(found), ratios(found, (0.35,)), safety(found)
    given = {
        "command": "python -m it",
        "pairs": 2,
        "steps": 28,
        "date": "today",
        "machine": "this",
        "load": 1.0,
    }
    given |= {"calibration": None, "peers_sha256": None, "code": ["c"], "rows": table, "ratios": compared}
    text = page({**given, "judge": judged(found), "safety": safe, "aims": aims(compared, {}, safe)})
    assert text.startswith("`python -m it`\n")
    assert "| cache-dit dbprune | no setting below 0.50 |" in text
    assert "| not below 0.50 |" in text
    assert "| diffusers taylorseer_lite 0.33 | 2 | 0.330 |" in text
    assert "every method under its defaults" in text


def test_a_peer_and_our_method_of_its_name_are_two_lines_and_ours_comes_first() -> None:
    found = {
        "full": full(1),
        "own": outcome("magcache", "rival", [0.1], 0.3, 0.35),
        "peer": outcome("diffusers magcache", "diffusers", [0.2], 0.3),
        "ours": outcome("ours", "ours", [0.05], 0.3, 0.35),
        "exact": outcome("ours", "ours", [0.0], 0.9, 0.9),
    }
    drawn = lines(rows(found), "spent")
    assert list(drawn) == ["ours", "magcache", "diffusers magcache"]
    assert drawn["ours"] == [(0.3, 0.05)]
    assert math.isclose(drawn["magcache"][0][1], 0.1)
