"""In which space a forecast extrapolates. Anchors keep flows; the other spaces are made of them.

Forecasts of order 0 are the same in all but the features: along a straight line flow, data and noise all
stand still. From order 1 on they differ; which strays least is measured in `docs/results/forecast_space.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor

from workers.core import Anchor, Prediction, Sample, combine, from_flow, to_flow


class Space(IntEnum):
    """A plan's parameter `space`; the network's own kind of prediction does not matter to it."""

    FLOW = 0
    """the velocity"""
    X0 = 1
    """the data it points at"""
    EPS = 2
    """the noise it comes from"""
    FEATURES = 3
    """the hidden state behind the last block; the head runs"""


def _of_outputs(space: Space) -> Space:
    if space is Space.FEATURES:
        raise ValueError("this method forecasts outputs: space is 0, 1 or 2")
    return space


OutputSpace = Annotated[Space, AfterValidator(_of_outputs)]
"""The space of a method that runs nothing in a forecast."""

_PREDICTIONS = {Space.FLOW: Prediction.FLOW, Space.X0: Prediction.X0, Space.EPS: Prediction.EPS}
_LEAST_SHARE = 1e-3
"""Of data in the latents: where there is none a velocity cannot be told from the noise."""


def extrapolate(sample: Sample, weights: Sequence[float], space: Space) -> Tensor:
    """The flow (lanes, S, C) forecast at the sample's point, in the outputs' dtype.

    Args:
        weights: one an anchor, oldest first; they add up to 1.
        space: an `OutputSpace`.
    """
    anchors = sample.anchors
    if space is Space.FLOW:
        return combine([anchor.output for anchor in anchors], weights)
    sigma = sample.solver.schedule.sigmas[sample.evaluation]
    known = combine([_in_space(_PREDICTIONS[space], anchor) for anchor in anchors], weights)
    flow = to_flow(_PREDICTIONS[space], known, sample.latents, sigma, _LEAST_SHARE)
    return flow.to(anchors[-1].output.dtype)


def _in_space(prediction: Prediction, anchor: Anchor) -> Tensor:
    """Float32: what is rounded here would be divided by sigma."""
    return from_flow(prediction, anchor.output.to(torch.float32), anchor.latents, anchor.sigma)
