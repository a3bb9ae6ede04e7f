"""Samples and plans for routers alone, without a network: ten blocks that cost 10 FLOP each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from protocol.calibration import Calibration
from protocol.cost import DenoiserCost
from protocol.plan import Plan
from tests.engine.toys import make_sample
from workers.core import Layout, Point, Prediction, Row, Sample, Stack
from workers.core.pare_router import TIME_CHANNELS, DepthRouter

BLOCKS = 10
COST = DenoiserCost(3, (10,) * BLOCKS, 2)
LAYOUT = Layout(BLOCKS, 2, Prediction.FLOW, lambda _grid: COST)


def routed_plan(depths: Sequence[int], method: str = "pare", /, **given: Any) -> Plan:
    """A hard plan that is granted what its depths cost, one lane."""
    fields: dict[str, Any] = {
        "methods": (method,),
        "num_inference_steps": len(depths),
        "solver": "euler",
        "granted_flop": sum(map(COST.of_depth, depths)),
        "full_flop": len(depths) * COST.evaluation,
        "mode": "hard",
        "depths": tuple(depths),
    }
    return Plan(**{**fields, **given})


def routed_sample(plan: Plan, seed: int = 0) -> Sample:
    sample = make_sample("routed", 0.0, steps=plan.num_inference_steps)
    sample.plan, sample.seed, sample.stack = plan, seed, Stack()
    return sample


def point_of(sample: Sample, latents: torch.Tensor | None = None) -> Point:
    """The sample's present point, of the given latents (1, 4, 3, 4, 4)."""
    sigma = sample.solver.schedule.sigmas[sample.evaluation]
    given = torch.zeros(1, 4, 3, 4, 4) if latents is None else latents
    return Point(given, sigma, 1000 * sigma)


def row_of(sample: Sample) -> Row:
    return Row(sample, range(1))


def fixed_router(logits: Sequence[float]) -> DepthRouter:
    """These logits, whatever the input."""
    return DepthRouter(torch.tensor(list(logits)), 4).eval()


def looking_router(seed: int = 3) -> DepthRouter:
    """Logits that depend on noise level and latents; what it sees of these weighs ten times as much."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        router = DepthRouter(torch.zeros(BLOCKS), 4)
        for layer in router.layers[::2]:
            torch.nn.init.normal_(layer.weight, std=0.3)
        with torch.no_grad():
            router.layers[0].weight[:, TIME_CHANNELS:] *= 10
    return router.eval()


def calibration(tables: Mapping[str, Any]) -> Calibration:
    return Calibration(
        digest="0" * 64,
        created=0,
        model_created=0,
        num_inference_steps=28,
        settings={},
        points=(),
        tables={name: dict(table) for name, table in tables.items()},
    )
