"""Do heads specialise? The share of attention that stays in its time slice, by head, block and level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workers.training.pare.calibration import Calibration
from workers.training.pare.pruning import evenness_removed
from workers.training.pare.settings import PruningSettings
from workers.training.video.pipeline_folder import TextToVideo, build_tokenizer

_BARS = 20


def roles_report(found: Calibration, settings: PruningSettings) -> dict[str, Any]:
    """What a histogram is drawn from, ready for JSON.

    `in_slice` is r of every head, `bars` how many heads of a block have an r in each twentieth of [0, 1], and
    the three counts are by r' and the settings' thresholds.
    """
    blocks = [_block(masses, found.num_slices, settings) for masses in found.in_slice]
    return {
        "slices": found.num_slices,
        "even": 1 / found.num_slices,
        "blocks": blocks,
        "total": {role: sum(block[role] for block in blocks) for role in ("spatial", "mixed", "temporal")},
        "by_level": found.in_slice_by_level.mean(-1).tolist(),
    }


def _block(masses: Tensor, num_slices: int, settings: PruningSettings) -> dict[str, Any]:
    corrected = evenness_removed(masses, num_slices)
    spatial = int((corrected > settings.spatial_above).sum())
    temporal = int((corrected < settings.temporal_below).sum())
    return {
        "in_slice": masses.tolist(),
        "bars": torch.histc(masses, _BARS, 0, 1).int().tolist(),
        "spatial": spatial,
        "mixed": len(masses) - spatial - temporal,
        "temporal": temporal,
    }


def teacher_at(state: Path) -> TextToVideo:
    """The averaged weights in a state of the `wan-tiny` recipe's transformer stage."""
    model = TextToVideo(build_tokenizer())
    model.load_state_dict(torch.load(state, weights_only=True)["average"])
    return model.eval().requires_grad_(False)
