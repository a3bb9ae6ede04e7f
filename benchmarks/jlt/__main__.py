"""Clean latents against velocities: what the arms of `rheostat train jlt` drew, held against real scenes.

    python -m benchmarks.jlt [--cache ~/.cache/rheostat]

Nothing is trained here. For every arm, training step and guidance: KID on EfficientNet-Lite0 features,
learned on ImageNet (neither target, the autoencoder nor the judge saw them), against real held-out scenes of
other captions; the share of objects the independent judge reads right, and of backgrounds, read from the
border. Mean and spread over seeds; the whitened and the free-skip control beside the pair of the same seed.
The floor is the KID of the frozen autoencoder's reconstructions of real scenes. What is asked: at the end x0
is better by at least 22 % in KID; whitened latents shrink the gap; a free skip shrinks it. An answer of no is
an answer, printed with the latents' spectrum. Features take 25 ms an image and are kept beside the samples.
Writes docs/results/jlt.json, .md and .png; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.jlt.markdown import as_markdown
from benchmarks.jlt.measure import Bench
from benchmarks.jlt.plot import draw
from benchmarks.jlt.report import summary
from benchmarks.reports import RESULTS, machine, publish
from workers.training.jlt.settings import JltSettings
from workers.training.recipes import DEFAULT_CACHE, DEFAULT_OUT


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--checkpoints", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--real", type=int, default=1000, help="real scenes to compare with")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = options.cache / "jlt"
    settings = JltSettings.model_validate_json((work / "settings.json").read_bytes())
    bench = Bench(settings, work, options.checkpoints / "flux-tiny", options.real)
    rows = bench.rows()
    report = {
        "benchmark": "jlt",
        "command": f"python -m benchmarks.jlt --real {options.real}",
        "machine": machine(),
        "settings": settings.model_dump(mode="json"),
        "floor": bench.floor(),
        "spectrum": json.loads((work / "spectrum.json").read_text()),
        "rows": rows,
        **summary(rows, settings),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    draw(report, options.out / "jlt.png")
    publish(report, as_markdown(report), options.out)


if __name__ == "__main__":
    main()
