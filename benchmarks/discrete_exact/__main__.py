"""Samplers for uniform-rate discrete diffusion, with scores that are exact.

exact   TV to the law of sources that can be listed, at every NFE, by transition matrices: no sampling error.
        Ceiling: 0. Minutes of one core.
chain   64 and 128 tokens of a first-order chain, 3,000 samples an arm: bigram TV, NLL, entropies, wall clock.
        Ceiling: the row of true sequences. Hours; goes on where it was cut off. Wall clock counts only on an
        idle core.

    python -m benchmarks.discrete_exact exact
    python -m benchmarks.discrete_exact chain --max-minutes 240

Writes sections of docs/results/gadd.json and .md, and gadd.png; the last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.discrete_exact import compare, converge, long_chain
from benchmarks.gadd_page import update
from benchmarks.quality_vs_compute.store import Store
from benchmarks.reports import RESULTS, machine

WORK = Path("~/.cache/rheostat/discrete_exact")
SMOKE = long_chain.Scale(lengths=(64,), nfes=(8, 16), samples=64)


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    command = shlex.join(["python", "-m", "benchmarks.discrete_exact", *sys.argv[1:]])
    report: dict[str, Any] = {"command": command, "machine": machine()}
    out = None if options.smoke else options.out
    if options.part == "exact":
        report["rows"] = converge.measure(16 if options.smoke else options.max_nfe)
        update("exact", report, converge.as_markdown(report["rows"], command), out)
        if out is not None:
            converge.draw(report["rows"], out / "gadd.png")
    else:
        scale = SMOKE if options.smoke else long_chain.Scale()
        store = Store(options.work.expanduser() / ("smoke" if options.smoke else "chain"))
        report["whole"] = long_chain.make(scale, store, options.max_minutes)
        report["rows"] = rows = long_chain.rows(scale, store)
        report |= {"comparisons": compare.comparisons(rows), "crossings": compare.crossings(rows)}
        update("chain", report, compare.as_markdown(rows, command), out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("exact", "chain"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--max-nfe", type=int, default=max(converge.NFES), help="of the part exact")
    parser.add_argument("--max-minutes", type=float, default=600)
    parser.add_argument("--smoke", action="store_true", help="a few small runs, nothing written to --out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
