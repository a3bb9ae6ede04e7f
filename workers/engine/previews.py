"""What a sample looks like on its way: the network's estimate of its end, decoded now and then.

A preview changes nothing about its sample and is billed beside its budget. Of a clip only the first frame is
decoded: a causal decoder makes it from the first latent frame alone, at a fraction of the whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from PIL import Image
from torch import Tensor

from protocol.cost import decode_cost
from protocol.extent import extent_of
from protocol.logs import of_job
from protocol.receipts import FLOP_PER_TFLOP
from workers.core import Layout, Point, Prediction, from_flow
from workers.engine.events import Previewed
from workers.engine.job import Flight
from workers.models import picture_model

_LOG = logging.getLogger(__name__)


def is_due(evaluation: int, every: int) -> bool:
    """Whether a preview is made of evaluation `evaluation`, counted from 0; never with `every` 0."""
    return every > 0 and (evaluation + 1) % every == 0


def can_show(layout: Layout) -> bool:
    """Whether there is anything to be seen on the way: tokens that are still noise say nothing."""
    return layout.prediction is not Prediction.LOG_RATIO


def estimate(point: Point, flow: Tensor) -> Tensor:
    """Where a straight path from `point` ends: the clean latents as the guided `flow` has them."""
    return from_flow(Prediction.X0, flow, point.latents, point.sigma)


def due(flights: Iterable[Flight]) -> list[Previewed]:
    """The previews of those who fly on and whose estimate was kept for one."""
    shown = []
    for flight in flights:
        if flight.estimate is not None:
            shown.append(preview(flight, flight.estimate))
            flight.estimate = None
    return [one for one in shown if one is not None]


def preview(flight: Flight, latents: Tensor) -> Previewed | None:
    """The estimate as a picture, on the job's account; None, and a line in the log, if it cannot be shown."""
    job, model, grid = flight.job, flight.job.model, flight.state.grid
    if not bool(torch.isfinite(latents).all()):
        return None
    is_clip = model.catalog.modality == "video"
    if is_clip:
        latents, grid = latents[:, :, :1], grid._replace(num_frames=1)
    try:
        decoded = picture_model(model).decode(latents, grid)
    except Exception:
        _LOG.exception("sample %d cannot be previewed", flight.index, extra=of_job(job.id))
        return None
    flop = _decode_flop(flight, num_frames=1 if is_clip else None)
    job.preview_flop += flop
    image = decoded if isinstance(decoded, Image.Image) else Image.fromarray(decoded[0])
    return Previewed(job.id, flight.index, flight.state.evaluation - 1, image, flop / FLOP_PER_TFLOP)


def _decode_flop(flight: Flight, num_frames: int | None) -> int:
    extent = extent_of(flight.job.request.input)
    extent["num_frames"] = num_frames
    return decode_cost(flight.job.model.catalog.shapes, **extent)
