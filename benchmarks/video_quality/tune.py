"""Choose DBPrune's settings on calibration captions.

    python -m benchmarks.video_quality.tune --captions 24 --out video_peers.json

As `benchmarks.quality_vs_compute.tune`, for clips: every candidate on the same (caption, seed) pairs, the
share of FLOPs and the latents' distance to the run without it. Every candidate done is a line of
`<out>.jsonl`; a run that was cut off goes on where that ends. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality_vs_compute.peers import Peer
from benchmarks.quality_vs_compute.tune import candidates, front, tune
from benchmarks.video_quality.arms import DBPRUNE
from benchmarks.video_quality.execute import Studio
from benchmarks.video_quality.peers import run
from workers.training.clips import unique_clips

CAPTION_SEED = 0


def pruning() -> list[Peer]:
    """DBPrune's settings to choose from, as on pictures."""
    return [peer for peer in candidates() if peer.name == DBPRUNE]


def tuned(studio: Studio, captions: int, journal: Path, peers: list[Peer]) -> dict[str, Any]:
    """All candidates as measured, and their front."""
    chosen = [clip.caption for clip in unique_clips(captions, CAPTION_SEED, "calibration")]
    sample = partial(run, shot=studio.shot)
    rows = tune(studio.pipeline, chosen, journal, studio.steps, peers=peers, sample=sample)
    return {
        "captions": captions,
        "steps": studio.steps,
        "digest": studio.entry().digest,
        "full_flop": studio.full_flop,
        "candidates": rows,
        "front": front(rows),
    }


def main() -> None:
    options = _options()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    studio = Studio(options.teacher, options.steps)
    report = tuned(studio, options.captions, options.out.with_suffix(".jsonl"), pruning())
    command = f"python -m benchmarks.video_quality.tune --captions {options.captions}"
    options.out.write_text(json.dumps({"command": command, **report}, indent=2) + "\n")
    print(json.dumps({"front": [row["share"] for row in report["front"]]}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", default="wan-tiny")
    parser.add_argument("--captions", type=int, default=24)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("video_peers.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
