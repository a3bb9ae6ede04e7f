"""Hold what is seen in clips against what their captions say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan, nan
from pathlib import Path

import numpy as np
import torch
from diffusers import WanPipeline

from workers.models.folder import digest_of
from workers.training.clips import FRAME_SIZE, NUM_FRAMES, SPEEDS, ClipAttributes, Frames, Mover
from workers.training.resumable import Deadline
from workers.training.video.judge import ClipReader, ClipReading, read_clips
from workers.training.video.settings import EvaluationSettings
from workers.training.video.tracking import Track, flicker, spearman

Pair = tuple[Mover, Mover | None, Track | None]
"""A mover asked for, and what is seen in its colour."""

# Figure of a mover -> when it is right; colour is whether its colour is seen at all.
CHECKS: dict[str, Callable[[Mover, Mover], bool]] = {
    "colour": lambda want, seen: seen.colour == want.colour,
    "object": lambda want, seen: seen.name == want.name,
    "direction": lambda want, seen: seen.direction == want.direction,
    "speed": lambda want, seen: seen.speed == want.speed,
}


def pair_up(wanted: ClipAttributes, reading: ClipReading) -> list[Pair]:
    """Match movers by colour; a lone mover is matched with the largest object whatever its colour."""
    seen = list(zip(reading.attributes.movers, reading.tracks, strict=True))
    if len(wanted.movers) == 1:
        return [(wanted.movers[0], *(seen[0] if seen else (None, None)))]
    by_colour = {mover.colour: (mover, track) for mover, track in seen}
    return [(want, *by_colour.get(want.colour, (None, None))) for want in wanted.movers]


def figures(
    clips: Sequence[Frames], wanted: Sequence[ClipAttributes], reader: ClipReader | None = None
) -> dict[str, float]:
    """Shares right and means, over all clips.

    colour, object, direction, speed: of the movers; with `single_` or `pair_` of those of such clips only.
    speed_rank: rank correlation of pixels a frame, asked and seen. travel: mean share of the way asked that
    is seen. background, count, everything: of the clips. flicker: levels of 255. pulse: see `Track.pulse`.
    What cannot be said of these clips is left out.
    """
    readings = read_clips(clips, reader)
    pairs = [pair_up(want, reading) for want, reading in zip(wanted, readings, strict=True)]
    result = _shares(pairs) | _motion([pair for found in pairs for pair in found])
    seen = [reading.attributes for reading in readings]
    couples = list(zip(wanted, seen, strict=True))
    result["background"] = float(np.mean([a.background == b.background for a, b in couples]))
    result["count"] = float(np.mean([len(a.movers) == len(b.movers) for a, b in couples]))
    result["everything"] = float(np.mean([a.key == b.key for a, b in couples]))
    flickers = [flicker(frames) for frames in clips]
    result["flicker"] = float(np.mean([each for each in flickers if not isnan(each)] or [nan]))
    return {name: value for name, value in result.items() if not isnan(value)}


def _shares(pairs: Sequence[list[Pair]]) -> dict[str, float]:
    result = {}
    for kind, sizes in {"": (1, 2), "single_": (1,), "pair_": (2,)}.items():
        movers = [pair for found in pairs if len(found) in sizes for pair in found]
        for name, right in CHECKS.items():
            outcomes = [seen is not None and right(want, seen) for want, seen, _ in movers]
            if outcomes:
                result[kind + name] = float(np.mean(outcomes))
    return result


def _motion(pairs: Sequence[Pair]) -> dict[str, float]:
    """Figures of the movers that are seen long enough to have a speed."""
    moving = [(want, track) for want, _, track in pairs if track is not None and not isnan(track.speed)]
    if not moving:
        return {"speed_rank": nan, "travel": nan, "pulse": nan}
    asked = [SPEEDS[want.speed or ""] for want, _ in moving]
    ratios = [
        track.displacement / ((NUM_FRAMES - 1) * rate) for (_, track), rate in zip(moving, asked, strict=True)
    ]
    return {
        "speed_rank": spearman(asked, [track.speed for _, track in moving]),
        "travel": float(np.mean(ratios)),
        "pulse": float(np.mean([track.pulse for _, track in moving])),
    }


@torch.inference_mode()
def generate(
    pipeline: WanPipeline, captions: Sequence[str], *, seed: int, num_inference_steps: int
) -> list[Frames]:
    """One clip a caption through diffusers' own pipeline, each from its own seed: seed, seed + 1, ...

    One lane, no guidance; the text is as long as the tokenizer says. (9, 32, 32, 3) uint8 each.
    """
    generators = [torch.Generator().manual_seed(seed + row) for row in range(len(captions))]
    video = pipeline(
        list(captions),
        height=FRAME_SIZE,
        width=FRAME_SIZE,
        num_frames=NUM_FRAMES,
        num_inference_steps=num_inference_steps,
        guidance_scale=1.0,
        max_sequence_length=pipeline.tokenizer.model_max_length,
        generator=generators,
        output_type="np",
    ).frames
    return list((video * 255).round().astype(np.uint8))


def parts_folder(work: Path, pipeline_folder: Path, settings: EvaluationSettings) -> Path:
    """A place for the clips of these weights and settings only."""
    numbers = (settings.seed, settings.num_inference_steps, settings.batch)
    return work / "-".join(("generated", digest_of(pipeline_folder)[:12], *map(str, numbers)))


def generate_in_parts(
    pipeline: WanPipeline,
    captions: Sequence[str],
    folder: Path,
    settings: EvaluationSettings,
    deadline: Deadline,
) -> list[Frames] | None:
    """As `generate`, a file a batch in a `parts_folder`.

    Goes on where it stopped; None when the deadline came first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Frames] = []
    for start in range(0, len(captions), settings.batch):
        part = folder / f"{start:06d}.npy"
        if not part.exists():
            if deadline.passed():
                return None
            seed, steps = settings.seed + start, settings.num_inference_steps
            made = generate(
                pipeline, captions[start : start + settings.batch], seed=seed, num_inference_steps=steps
            )
            partial = part.with_suffix(".partial.npy")
            np.save(partial, np.stack(made))
            partial.rename(part)
        found += list(np.load(part))
    return found
