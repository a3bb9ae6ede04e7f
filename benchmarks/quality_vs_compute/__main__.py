"""What a picture loses for the compute it is spared: our methods and released peers on the same pairs.

    python -m benchmarks.quality_vs_compute --peers peers.json --workers 2 --max-minutes 240

Unit: (caption, seed). Arms: every method of ours at every budget by the public request, diffusers' hooks and
cache-dit as released at settings tuned on calibration captions (`benchmarks.quality_vs_compute.tune`), the
unabridged run, the ODE's solution, real scenes. Ceiling: distance 0, which only the unabridged run reaches.
Work goes chunk by chunk over all arms and is kept in `--work`; a run that is cut off goes on where it ended.
The report is over the pairs that all arms have. Items are kept by calibration, weights and peers' settings,
not by code: after a change to a method give another `--work`; the page names the versions it mixes.

Writes docs/results/softcap.json, .md and .png; the last line printed is one JSON object. `--smoke` runs two
pairs of few arms and writes into the work folder. Wall clock counts only on idle cores, one a process.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality_vs_compute import pairs as drawn
from benchmarks.quality_vs_compute.arms import FULL, OURS, Arm, Scale, own_arms, peer_arms, references
from benchmarks.quality_vs_compute.collect import Outcome, outcomes, shared_chunks
from benchmarks.quality_vs_compute.execute import Studio
from benchmarks.quality_vs_compute.markdown import page
from benchmarks.quality_vs_compute.plot import draw
from benchmarks.quality_vs_compute.processes import file_hash, in_processes, settings_hash
from benchmarks.quality_vs_compute.report import aims, judged, ratios, rows, safety
from benchmarks.quality_vs_compute.store import Store
from benchmarks.quality_vs_compute.work import items, make_with, work
from benchmarks.reports import RESULTS, machine

WORK = Path("~/.cache/rheostat/quality_vs_compute")
SMOKE = Scale(pairs=2, rest_pairs=2, judge_pairs=2, ode_pairs=2, ode_steps=4, chunk=2, budgets=(0.35, 0.2))
_SMOKE_METHODS, _SMOKE_PEERS = ("static",), 1


@dataclass(frozen=True)
class Bench:
    """Everything a process needs: arms, what runs them, where outcomes are kept."""

    scale: Scale
    arms: Sequence[Arm]
    studio: Studio
    store: Store

    def run(self, minutes: float) -> list[str]:
        """Work until all is done or the time is up; names of the arms that failed."""
        longest = max(arm.pairs for arm in self.arms)
        wanted = items(self.arms, drawn.held_out(longest), self.scale.chunk)
        return work(self.store, wanted, make_with(self.studio, self.store), minutes)


def main() -> None:
    options = _options()
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")  # of the processes started here, too
    bench = prepare(options)
    failed = [] if options.report_only else in_processes(__package__, options, bench.run)
    if not options.no_report:
        report = write(options, bench)
        print(json.dumps({"pairs": report["pairs"], "failed": failed, "aims": report["aims"]}))
    sys.exit(1 if failed else 0)


def prepare(options: argparse.Namespace) -> Bench:
    """The arms of these options and the folder that belongs to them."""
    torch.set_num_threads(1)
    counts = (options.pairs, options.rest_pairs, options.judge_pairs, options.ode_pairs)
    scale = SMOKE if options.smoke else Scale(*counts)
    studio = Studio(scale)
    entry = studio.model.catalog
    tuned = json.loads(options.peers.read_text())["candidates"] if options.peers else []
    own = own_arms(scale, entry, _SMOKE_METHODS if options.smoke else None)
    peers = peer_arms(scale, tuned, options.per_peer)[: _SMOKE_PEERS if options.smoke else None]
    runs = [scale.steps, scale.ode_steps, scale.ode_pairs, scale.chunk, drawn.CAPTION_SEED]
    given = [entry.digest, entry.calibration, file_hash(options.peers), *runs]
    folder = options.work or WORK.expanduser() / settings_hash(given)
    return Bench(scale, [*references(scale), *own, *peers], studio, Store(folder))


def write(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """The report over all pairs that every arm has, as JSON, page and plot."""
    report = assemble(options, bench)
    out: Path = bench.store.folder if options.smoke else options.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "softcap.json").write_text(json.dumps(report, indent=2) + "\n")
    (out / "softcap.md").write_text(page(report))
    draw(report["rows"], out / "softcap.png")
    print(f"{report['pairs']} pairs, {len(report['rows'])} arms: {out / 'softcap.md'}")
    return report


def assemble(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """Everything that is told, without writing it."""
    scale, store = bench.scale, bench.store
    chunks = shared_chunks(store, bench.arms, scale.pairs // scale.chunk, scale.chunk)
    found = outcomes(store, bench.arms, chunks)
    if FULL not in found:
        sys.exit("not one chunk is done by all arms that were begun; give it more minutes")
    long = _long_outcomes(bench)
    judge, safe = judged(long), safety(long)
    table, compared = rows(found), ratios(found, scale.budgets)
    entry = bench.studio.model.catalog
    return {
        "benchmark": "quality_vs_compute",
        "command": shlex.join(["python", "-m", "benchmarks.quality_vs_compute", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "model": entry.name,
        "digest": entry.digest,
        "calibration": entry.calibration,
        "peers_sha256": file_hash(options.peers),
        "workers": options.workers,
        "load": float(np.mean([each.columns["load"].mean() for each in found.values()])),
        "code": sorted({str(name) for each in found.values() for name in each.columns["code"]}),
        "pairs": chunks * scale.chunk,
        "steps": scale.steps,
        "scale": asdict(scale),
        "aims": aims(compared, judge, safe),
        "ratios": compared,
        "judge": judge,
        "safety": safe,
        "rows": table,
    }


def _long_outcomes(bench: Bench) -> dict[str, Outcome]:
    """Of the unabridged run and ours, over all the pairs these have."""
    arms = [arm for arm in bench.arms if arm.line in (FULL, OURS)]
    size = bench.scale.chunk
    chunks = shared_chunks(bench.store, arms, bench.scale.judge_pairs // size, size)
    return outcomes(bench.store, arms, chunks)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="what `tune` wrote; without it no peer is run")
    parser.add_argument("--per-peer", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=Scale.pairs)
    parser.add_argument(
        "--rest-pairs", type=int, default=Scale.rest_pairs, help="of arms no verdict rests on"
    )
    parser.add_argument("--judge-pairs", type=int, default=Scale.judge_pairs)
    parser.add_argument("--ode-pairs", type=int, default=Scale.ode_pairs)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--max-minutes", type=float, default=float("inf"))
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--no-report", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    counts = (options.pairs, options.rest_pairs, options.judge_pairs, options.ode_pairs)
    if any(count % Scale.chunk for count in counts):
        parser.error(f"pairs are run {Scale.chunk} at a time: give multiples")
    return options


if __name__ == "__main__":
    main()
