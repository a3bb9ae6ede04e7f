"""Routers alone: what their logits are like, which blocks are missed least, how far each height strays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from protocol.calibration import CalibrationPoint
from protocol.methods import LEARNED
from workers.training.block_drops import least_missed
from workers.training.calibration.probe import Probe, relative
from workers.training.calibration.trial import Trial

_QUANTILES = 33
_RANKED_AT = 5
_HEIGHTS = 6
_ADAPTIVITIES = (0.0, 0.5, 1.0)


@torch.inference_mode()
def logit_quantiles(probe: Probe) -> dict[str, Any]:
    """Of the logits between the first and the last block along the probe's runs, all prompts together.

    Returns:
        What `workers.acceleration.pare` reads.
    """
    rows, shares = torch.arange(len(probe)), torch.linspace(0, 1, _QUANTILES)
    levels = []
    for index, latents in enumerate(probe.trajectory()):
        free = probe.logits(latents, index, rows)[:, 1:-1].flatten()
        levels.append((probe.schedule.sigmas[index], torch.quantile(free, shares).tolist()))
    levels.sort()
    return {"sigmas": [sigma for sigma, _ in levels], "quantiles": [row for _, row in levels]}


@torch.inference_mode()
def block_ranking(probe: Probe) -> list[int]:
    """All blocks, the one that is missed most first; the first and the last lead.

    Missed: by the relative error of what the solver is told, at a few steps evenly spread over the runs.
    """
    steps, rows = probe.num_steps, torch.arange(len(probe))
    places = {round((steps - 1) * place / (_RANKED_AT - 1)) for place in range(_RANKED_AT)}
    standing = {index: latents for index, latents in enumerate(probe.trajectory()) if index in places}

    def error(blocks: Sequence[bool]) -> float:
        strayed = [
            relative(probe.evaluate(latents, index, rows, blocks), probe.outputs[:, index]).mean()
            for index, latents in standing.items()
        ]
        return float(torch.stack(strayed).mean())

    num_blocks = probe.network.layout.num_blocks
    missed = list(least_missed(num_blocks, error))
    return [0, num_blocks - 1, *reversed(missed)]


def height_points(trial: Trial, few: Trial, router: str) -> list[CalibrationPoint]:
    """A router's points from the floor of its line to its ceiling.

    The learned one follows the input as far as its runs then stray least.

    Args:
        trial: the prompts of the final measurement.
        few: those of the search.
    """
    points = []
    for flop in trial.heights(_HEIGHTS):
        plans = [trial.depth_plan(router, flop, variant) for variant in _variants(router)]
        best = min(plans, key=lambda plan: float(few.run(plan).distance.mean())) if plans[1:] else plans[0]
        points.append(trial.point(best))
    return points


def _variants(router: str) -> list[Mapping[str, float]]:
    return [{"adaptivity": value} for value in _ADAPTIVITIES] if router == LEARNED else [{}]
