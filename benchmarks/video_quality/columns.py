"""What is kept of an outcome, one row a pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality_vs_compute.distances import latent_distance
from benchmarks.quality_vs_compute.store import Columns
from benchmarks.video_quality.arms import FULL, Arm
from benchmarks.video_quality.execute import Made
from benchmarks.video_quality.pairs import ClipPair
from benchmarks.video_quality.shimmer import shimmer
from workers.training.clips import SPEEDS
from workers.training.video.evaluation import CHECKS, Pair, pair_up
from workers.training.video.judge import ClipReader, read_clips
from workers.training.video.tracking import flicker

FIGURES = tuple(CHECKS)
"""colour, object, direction, speed"""
_MOST_MOVERS = 2


def measured(
    arm: Arm,
    pairs: Sequence[ClipPair],
    made: Sequence[Made],
    full: Columns | None,
    reader: ClipReader | None = None,
) -> Columns:
    """The columns of one item.

    spent, measured, nfe, seconds: see `Made`. movers: asked for in the clip; colour, object, direction,
    speed: how many of them are seen right. asked, seen: (n, 2) pixels a frame of each mover; travelled:
    (n, 2) pixels; NaN where there is none. flicker, shimmer: levels of 255. latent: relative L2 to the
    teacher's unabridged run; that one keeps its `latents`.

    Args:
        full: the unabridged run's columns of the same pairs; None for that run and for real clips.
        reader: of objects; None: the committed one.
    """
    columns = {
        name: np.array([getattr(each, name) for each in made])
        for name in ("spent", "measured", "nfe", "seconds")
    }
    columns |= _read(pairs, made, reader)
    for name, measure in (("flicker", flicker), ("shimmer", shimmer)):
        columns[name] = np.array([measure(each.frames) for each in made])
    if arm.line == FULL:
        columns["latents"] = _stacked(made)
    if full is not None:
        references = torch.from_numpy(full["latents"])
        columns["latent"] = latent_distance([*torch.from_numpy(_stacked(made))], [*references])
    return columns


def _stacked(made: Sequence[Made]) -> NDArray[Any]:
    return np.stack([each.latents[0].float().numpy() for each in made if each.latents is not None])


def _read(pairs: Sequence[ClipPair], made: Sequence[Made], reader: ClipReader | None) -> Columns:
    readings = read_clips([each.frames for each in made], reader)
    found = [pair_up(pair.attributes, reading) for pair, reading in zip(pairs, readings, strict=True)]
    columns: Columns = {"movers": np.array([len(movers) for movers in found])}
    for figure, right in CHECKS.items():
        columns[figure] = np.array(
            [sum(seen is not None and right(want, seen) for want, seen, _ in movers) for movers in found]
        )
    columns["asked"] = _each(found, lambda pair: SPEEDS[pair[0].speed or ""])
    columns["seen"] = _each(found, lambda pair: pair[2].speed if pair[2] is not None else np.nan)
    columns["travelled"] = _each(found, lambda pair: pair[2].displacement if pair[2] is not None else np.nan)
    return columns


def _each(found: Sequence[Sequence[Pair]], value: Any) -> NDArray[Any]:
    """(n, 2): one number a mover, NaN where there is no second one."""
    rows = [[value(pair) for pair in movers] for movers in found]
    return np.array([row + [np.nan] * (_MOST_MOVERS - len(row)) for row in rows])
