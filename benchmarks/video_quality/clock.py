"""Whether saved FLOPs are saved seconds: an arm against the unabridged run in interleaved pairs.

Nothing else may run meanwhile. Rows are kept by arm and batch, so that a run that is cut off goes on.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from benchmarks.video_quality.arms import FULL, PARE, TOGETHER, Arm, Scale
from benchmarks.video_quality.execute import Studio
from benchmarks.video_quality.pairs import held_out
from workers.engine import Result
from workers.training.calibration.notebook import Notebook

BATCHES = (1, 8)
STAGES = ("encode", "denoise", "decode")


def timed_arms(arms: Iterable[Arm], scale: Scale) -> list[Arm]:
    """The arms a limit is set for: PARE at the matched share, and all three together at every budget."""
    return [
        arm for arm in arms if (arm.line == PARE and arm.fraction == scale.matched) or arm.line == TOGETHER
    ]


def clocks(studio: Studio, arms: Sequence[Arm], notebook: Notebook, repeats: int) -> list[dict[str, Any]]:
    """A row an arm and batch."""
    return [
        notebook.entry(f"{arm.name}-{batch}-{repeats}", partial(wall_clock, studio, arm, batch, repeats))
        for arm in arms
        for batch in BATCHES
    ]


def wall_clock(studio: Studio, arm: Arm, batch: int, repeats: int) -> dict[str, Any]:
    """Medians of (arm / full) over repeats on other captions each, after one warm-up.

    Returns:
        denoise: ratio of the denoising of as many clips at once; total: with prompts and decoder.
        seconds, full_seconds: medians of the denoising.
    """
    full = Arm(FULL, FULL, "reference", batch)
    pairs = held_out(batch * (repeats + 1))
    rows = []
    for start in range(0, len(pairs), batch):
        plain, spared = (studio.run(each, pairs[start : start + batch]) for each in (full, arm))
        rows.append((_taken(spared), _taken(plain)))
    kept = rows[1:]
    return {
        "arm": arm.name,
        "line": arm.line,
        "batch": batch,
        "repeats": repeats,
        "denoise": _median(ours["denoise"] / theirs["denoise"] for ours, theirs in kept),
        "total": _median(sum(ours.values()) / sum(theirs.values()) for ours, theirs in kept),
        "seconds": _median(ours["denoise"] for ours, _ in kept),
        "full_seconds": _median(theirs["denoise"] for _, theirs in kept),
    }


def _taken(results: Sequence[Result]) -> dict[str, float]:
    return {stage: sum(result.stage_seconds[stage] for result in results) for stage in STAGES}


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 5)
