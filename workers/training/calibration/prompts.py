"""Which prompts a calibration runs on, and what sets it apart from others of the same weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from workers.models import Model
from workers.training.clips import sample_clips
from workers.training.scenes import sample_scenes

FEW = 24
"""Prompts that variants are tried on; a calibration takes at least twice as many."""


def choose_prompts(model: Model, file: Path | None, count: int) -> list[str]:
    """The first `count` lines of the file, or captions of what the model makes.

    Raises:
        ValueError: too few.
    """
    if file is None:
        found = _own_captions(model, count)
    else:
        found = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()][:count]
    if len(found) < 2 * FEW:
        raise ValueError(f"a calibration needs at least {2 * FEW} prompts, not {len(found)}")
    return found


def _own_captions(model: Model, count: int) -> list[str]:
    if model.catalog.modality == "video":
        return [clip.caption for clip in sample_clips(count, 0, "calibration")]
    return [scene.caption for scene in sample_scenes(count, 0, "calibration")]


def special_settings(model: Model, reference: Model | None) -> dict[str, JsonValue]:
    """A clip's own settings, and another model to compare with: nothing for most calibrations."""
    defaults = model.catalog.defaults
    compared: dict[str, JsonValue] = {"reference": reference.catalog.digest[:12]} if reference else {}
    if model.catalog.modality != "video":
        return compared
    return {"num_frames": defaults.num_frames, "guidance_scale": defaults.guidance_scale, **compared}


def digest_of(prompts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(prompts).encode()).hexdigest()[:8]
