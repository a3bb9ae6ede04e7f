"""Two ranks make what one makes: the same latents within 1e-5, by the same decisions, at the same price."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from protocol.plan import Plan
from protocol.receipts import Action
from tests.acceleration.support import Body, plan_for, run
from tests.engine.clips import clip
from tests.engine.requests import request

TOLERANCE = 1e-5
Jobs = list[tuple[Body, Plan | None]]


class Case(NamedTuple):
    """A model, how two ranks share it, and what they run together."""

    root: str
    model: str
    lanes: int
    tokens: int
    jobs: Jobs

    def spelled(self) -> dict[str, Any]:
        jobs = [(body, None if plan is None else plan.model_dump(mode="json")) for body, plan in self.jobs]
        return {**self._asdict(), "jobs": jobs}


def cached(model: Any, body: Body, solver: str = "euler") -> Jobs:
    """The body in full, and under caches that look at outputs, at hidden states, at the first lane's risk."""
    plans = [
        plan_for(model, body, "softcap", granted=0.6, nodes=(0, 2, 4)),
        plan_for(model, body, "softcap-paper", {"monitor": 1, "tau_0": 0.2}, granted=0.7),
        plan_for(model, body, "softcap-paper", {"monitor": 0, "tau_0": 0.2}, granted=0.7),
        plan_for(model, body, "speca", {"threshold": 0.5}, granted=2.0),
        plan_for(model, body, "teacache", {"threshold": 0.6}, granted=2.0),
        plan_for(model, body, "first-block-cache", {"threshold": 0.5}, granted=2.0),
    ]
    return [(body, None), *((body, plan.model_copy(update={"solver": solver})) for plan in plans)]


@pytest.fixture(scope="module")
def cases(load_flux: Callable[..., Any], load_wan: Callable[..., Any]) -> dict[str, Case]:
    picture = request(num_inference_steps=6)
    contrast = request(num_inference_steps=4, negative_prompt="the sun", guidance_scale=3.0)
    moving, plain = clip(num_inference_steps=6), clip(num_inference_steps=4, guidance_scale=1.0)
    flux, wan = load_flux(), load_wan()
    return {
        "pictures by tokens": Case(
            "flux",
            "plain",
            1,
            2,
            [*cached(flux, picture), (request(width=40, height=40), None), (contrast, None)],
        ),
        "clips by tokens": Case("wan", "unipc", 1, 2, cached(wan, moving, "unipc")),
        "pictures by lanes": Case("flux", "plain", 2, 1, [(picture, None), *cached(flux, contrast)[:4]]),
        "clips by lanes": Case("wan", "unipc", 2, 1, [*cached(wan, moving, "unipc"), (plain, None)]),
    }


@pytest.fixture(scope="module")
def shared(
    cases: dict[str, Case], flux_root: Path, wan_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    """What two ranks made of each case."""
    root, out = tmp_path_factory.mktemp("roots"), tmp_path_factory.mktemp("latents")
    (root / "flux").symlink_to(flux_root)
    (root / "wan").symlink_to(wan_root)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.ranks.program", str(root), str(out)],
        input=json.dumps([case.spelled() for case in cases.values()]),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return {name: torch.load(out / f"{place}.pt") for place, name in enumerate(cases)}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "name", ["pictures by tokens", "clips by tokens", "pictures by lanes", "clips by lanes"]
)
def test_two_ranks_equal_one(
    name: str,
    cases: dict[str, Case],
    shared: dict[str, list[Any]],
    load_flux: Callable[..., Any],
    load_wan: Callable[..., Any],
) -> None:
    case = cases[name]
    alone = run({"flux": load_flux, "wan": load_wan}[case.root](case.model), case.jobs)
    assert len(shared[name]) == len(alone)
    mixed = 0
    for (latents, receipt), result in zip(shared[name], alone, strict=True):
        assert (latents - result.samples[0].latents).abs().max() < TOLERANCE
        mine, others = result.receipt.samples[0].steps, receipt["samples"][0]["steps"]
        assert [line["action"] for line in others] == [line.action.value for line in mine]
        assert [line["tflops"] for line in others] == [line.tflops for line in mine]
        assert receipt["nfe"] == result.receipt.nfe
        mixed += len({line.action for line in mine}) > 1
    assert mixed >= 3, "caches skipped something, so that there was something to agree on"
    assert any(Action.FORECAST.value in str(receipt) for _, receipt in shared[name])
