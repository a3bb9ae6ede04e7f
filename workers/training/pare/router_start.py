"""What a router looks at, between which depths it chooses, and the logits it starts from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workers.core.pare_router import DepthRouter, depth
from workers.models.pare import RouterShape, build_router
from workers.training.pare.settings import PareSettings

_FIXED_LOGIT = 8.0
_LEAST_BLOCKS = 2.0
"""The first and the last always run."""


def run_depths(scheduler: Any, num_inference_steps: int, least: float, most: float) -> list[int]:
    """K at every step of a run with the pipeline's scheduler."""
    scheduler.set_timesteps(num_inference_steps)
    return [depth(sigma, least, most) for sigma in scheduler.sigmas[:-1].tolist()]


def depth_range(settings: PareSettings, num_blocks: int, scheduler: Any) -> tuple[float, float]:
    """K_min and K_max; of fixed blocks the mean depth of a run that has the others' range."""
    if settings.router == "none":
        return num_blocks, num_blocks
    least = max(_LEAST_BLOCKS, settings.least_share * num_blocks)
    most = max(least, settings.most_share * num_blocks)
    if settings.router != "static":
        return least, most
    depths = run_depths(scheduler, settings.evaluation.num_inference_steps, least, most)
    mean = round(sum(depths) / len(depths))
    return mean, mean


def router_shape(settings: PareSettings, config: Any) -> RouterShape | None:
    """Of the router for a transformer of this config; None where dice or nobody chooses."""
    if settings.router in ("none", "random"):
        return None
    channels = config.in_channels if settings.router in ("content", "text") else 0
    return RouterShape(channels=channels, text_channels=config.text_dim if settings.router == "text" else 0)


def new_router(shape: RouterShape, logits: Tensor) -> DepthRouter:
    """A router that answers `logits` (N,) to everything until it has learned."""
    router = build_router(shape, len(logits))
    last = router.layers[-1]
    assert isinstance(last, nn.Linear), "see DepthRouter"
    with torch.no_grad():
        last.bias.copy_(logits)
    return router


def first_logits(residual: Tensor) -> Tensor:
    """log of how much each block changes its input, beside the mean block; `residual` as in `Calibration`."""
    return (residual / residual.mean()).log()


def fixed_logits(blocks: Tensor) -> Tensor:
    """Far above zero for the blocks (N,) bool that run, far below for the others."""
    return _FIXED_LOGIT * (2.0 * blocks.float() - 1.0)
