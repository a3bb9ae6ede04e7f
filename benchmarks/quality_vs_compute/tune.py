"""Choose the peers' settings on calibration captions.

    python -m benchmarks.quality_vs_compute.tune --captions 24 --out peers.json

Runs every candidate on the same (caption, seed) pairs and holds the final latents against the run without a
cache. Every candidate done is a line of `<out>.jsonl`; a run that was cut off goes on where that ends. The
result holds all candidates and, by peer, the Pareto front of share and mean distance. The last line printed
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality_vs_compute.distances import latent_distance
from benchmarks.quality_vs_compute.intervals import tail_mean
from benchmarks.quality_vs_compute.peers import (
    STEPS,
    Peer,
    PeerRun,
    Setting,
    full_flop,
    load_pipeline,
    mag_ratios,
    run,
)
from workers.training.scenes import sample_scenes

Row = dict[str, Any]

_THRESHOLDS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0)
_TAYLOR = ("cache_interval", "max_order", "disable_cache_before_step")
_TAYLORSEER = (
    *product((2, 3, 4, 5, 6, 8), (1, 2), (3,)),
    *((interval, 1, 1) for interval in (6, 8, 12)),
    *((interval, 1, 6) for interval in (3, 4, 6)),
    *((2, 1, warmup) for warmup in (10, 18)),
)
_MAG = ("threshold", "max_skip_steps", "retention_ratio")
_MAGCACHE = (
    (0.012, 1, 0.2),
    (0.018, 1, 0.2),
    (0.03, 1, 0.2),
    (0.06, 2, 0.2),
    (0.06, 3, 0.2),
    (0.12, 3, 0.2),
    (0.12, 3, 0.1),
    (0.24, 5, 0.2),
    (0.24, 5, 0.1),
    (0.5, 6, 0.1),
    (1.0, 8, 0.1),
    (2.0, 12, 0.1),
    (0.06, 2, 0.35),
    (0.12, 3, 0.35),
    (0.24, 5, 0.35),
)
_DUAL = (
    "Fn_compute_blocks",
    "Bn_compute_blocks",
    "residual_diff_threshold",
    "max_warmup_steps",
    "max_continuous_cached_steps",
)
_DBCACHE = (
    (1, 0, 0.03, 4, -1),
    (1, 0, 0.06, 4, -1),
    (1, 0, 0.1, 4, -1),
    (1, 0, 0.2, 4, -1),
    (1, 0, 0.3, 4, -1),
    (1, 0, 0.5, 4, -1),
    (1, 0, 0.5, 2, -1),
    (1, 0, 1.0, 2, -1),
    (1, 0, 1.0, 4, 2),
    (1, 0, 1.0, 4, 3),
    (1, 0, 1.0, 3, 5),
    (1, 1, 0.2, 4, -1),
    (4, 0, 0.1, 4, -1),
    (4, 0, 0.3, 4, -1),
    *((1, 0, threshold, 8, -1) for threshold in (0.1, 0.2, 0.3, 0.5)),
    *((1, 0, 1.0, 8, limit) for limit in (1, 2, 3, 5)),
)
_DBPRUNE = (
    *((1, 0, threshold, 4, -1, False) for threshold in (0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.4)),
    (1, 0, 0.4, 2, -1, False),
    *((1, 0, threshold, 8, -1, False) for threshold in (0.06, 0.1, 0.25)),
    (1, 1, 0.1, 4, -1, False),
    (1, 0, 0.06, 4, -1, True),
    (1, 0, 0.15, 4, -1, True),
)


def candidates() -> list[Peer]:
    """Settings of every peer to choose from, from about .15 to about .9 of the compute."""
    return [Peer(name, setting) for name, settings in _grids().items() for setting in settings]


def _grids() -> dict[str, list[Setting]]:
    dual = _settings(_DUAL, _DBCACHE)
    return {
        "taylorseer_lite": _settings(_TAYLOR, _TAYLORSEER),
        "magcache": _settings(_MAG, _MAGCACHE),
        "dbcache_taylor": [
            *({**setting, "taylorseer_order": 1} for setting in dual),
            *(
                {**setting, "taylorseer_order": 2}
                for setting in (dual[2], dual[4], dual[9], dual[15], dual[19])
            ),
        ],
        "dbprune": _settings((*_DUAL, "enable_dynamic_prune_threshold"), _DBPRUNE),
        "dbcache": dual,
        "first_block": _settings(("threshold",), [(threshold,) for threshold in _THRESHOLDS]),
        "taylorseer_modules": _settings(_TAYLOR, _TAYLORSEER),
        "taylorseer_attention": _settings(_TAYLOR, _TAYLORSEER[:12]),
    }


def _settings(names: Sequence[str], values: Iterable[Sequence[Any]]) -> list[Setting]:
    return [dict(zip(names, each, strict=True)) for each in values]


def measure(
    pipeline: Any,
    peer: Peer,
    captions: Sequence[str],
    references: Sequence[Tensor],
    steps: int = STEPS,
    *,
    sample: Callable[..., list[PeerRun]] = run,
) -> Row:
    """One candidate over all captions; caption i has noise seed i, `sample` runs them as `peers.run` does.

    Returns:
        peer, setting, captions, steps; means of share, distance and seconds over the captions; tail: the mean
        of the worst 5 % of distances.
    """
    runs = sample(pipeline, peer, captions, range(len(captions)), steps=steps)
    distances = latent_distance([each.latents for each in runs], references)
    return {
        "peer": peer.name,
        "setting": dict(peer.setting),
        "captions": len(captions),
        "steps": steps,
        "share": fmean(each.share for each in runs),
        "mean": float(np.mean(distances)),
        "tail": float(tail_mean(distances)),
        "seconds": fmean(each.seconds for each in runs),
    }


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other beats in both share and mean distance, by rising share."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda each: (each["share"], each["mean"])):
        if not best or row["mean"] < best[-1]["mean"]:
            best.append(row)
    return best


def remaining(peers: Sequence[Peer], done: Sequence[Row]) -> list[Peer]:
    """The candidates without a row."""
    names = {_key(row["peer"], row["setting"]) for row in done}
    return [peer for peer in peers if _key(peer.name, peer.setting) not in names]


def read_journal(path: Path, captions: int, steps: int) -> list[Row]:
    """The whole lines of earlier runs over as many captions and steps."""
    if not path.exists():
        return []
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    rows: list[Row] = [json.loads(line) for line in whole]
    return [row for row in rows if (row["captions"], row["steps"]) == (captions, steps)]


def _key(name: str, setting: Setting) -> str:
    return json.dumps([name, dict(setting)], sort_keys=True)


def _append(path: Path, row: Row) -> None:
    """Add a line, after cutting off what an interrupted run left of its last one."""
    with path.open("ab+") as journal:
        journal.seek(0)
        journal.truncate(journal.read().rfind(b"\n") + 1)
        journal.write(json.dumps(row).encode() + b"\n")


def tune(
    pipeline: Any,
    captions: Sequence[str],
    journal: Path,
    steps: int = STEPS,
    *,
    peers: Sequence[Peer] | None = None,
    sample: Callable[..., list[PeerRun]] = run,
) -> list[Row]:
    """Rows of all candidates, or of those given; those in the journal are not run again."""
    done = read_journal(journal, len(captions), steps)
    left = remaining(candidates() if peers is None else peers, done)
    references: list[Tensor] = []
    if left:
        plain = sample(pipeline, Peer("plain"), captions, range(len(captions)), steps=steps)
        references = [each.latents for each in plain]
    for peer in left:
        row = measure(pipeline, peer, captions, references, steps, sample=sample)
        _append(journal, row)
        done.append(row)
        print(
            f"{row['share']:.3f} {row['mean']:.4f} {row['tail']:.4f} {_key(peer.name, peer.setting)}",
            flush=True,
        )
    return done


def main() -> None:
    options = _options()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    pipeline = load_pipeline()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    captions = [scene.caption for scene in sample_scenes(options.captions, 0, "calibration")]
    rows = tune(pipeline, captions, options.out.with_suffix(".jsonl"), options.steps)
    names = dict.fromkeys(row["peer"] for row in rows)
    report = {
        "command": f"python -m benchmarks.quality_vs_compute.tune --captions {options.captions}",
        "captions": options.captions,
        "steps": options.steps,
        "full_flop": full_flop(pipeline, options.steps),
        "mag_ratios": mag_ratios(pipeline, options.steps),
        "candidates": rows,
        "fronts": {name: front([row for row in rows if row["peer"] == name]) for name in names},
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({"fronts": {name: len(rows) for name, rows in report["fronts"].items()}}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captions", type=int, default=24)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=Path("peers.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
