"""What a clip loses for the compute it is spared: PARE, its controls and released pruning on the same pairs.

    python -m benchmarks.video_quality --peers video_peers.json --workers 2 --max-minutes 240 \\
        --student pare=checkpoints/wan-tiny-pare --student unprotected=FOLDER --student uniform=FOLDER:static
    python -m benchmarks.video_quality ... --clock

Unit: (caption, seed) of held-out clips. Arms: the teacher unabridged, real clips (the judge's ceiling), our
caches, dropped blocks and fewer steps on the teacher, every student by its folder, the one named `pare` under
every stack and budget, adaptive and not on easy and hard captions, cache-dit's DBPrune at settings tuned on
calibration captions (`benchmarks.video_quality.tune`). Every share is FLOPs counted on the very run, over the
teacher's unabridged one. Ceiling: the teacher, which only it reaches.

Work goes chunk by chunk over all arms and is kept in `--work`; a run that is cut off goes on where it ended.
Items are kept by weights, calibrations and peers' settings, not by code: after a change to a method give
another `--work`; the page names the versions it mixes. `--clock` times PARE and all three together against
the unabridged run and does nothing else; it wants idle cores. Writes docs/results/pare.json, .md and .png;
the last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality_vs_compute.collect import Outcome, outcomes
from benchmarks.quality_vs_compute.processes import file_hash, in_processes, settings_hash
from benchmarks.quality_vs_compute.store import Columns, Store
from benchmarks.quality_vs_compute.work import Item, items, stamped, work
from benchmarks.reports import RESULTS, machine
from benchmarks.video_quality.arms import (
    FULL,
    Arm,
    Scale,
    Student,
    needed,
    peer_arms,
    plannable,
    references,
    student_arms,
    teacher_arms,
)
from benchmarks.video_quality.clock import clocks, timed_arms
from benchmarks.video_quality.columns import measured
from benchmarks.video_quality.execute import Studio
from benchmarks.video_quality.markdown import page
from benchmarks.video_quality.pairs import CAPTION_SEED, held_out
from benchmarks.video_quality.plot import draw
from benchmarks.video_quality.report import adaptivity, aims, rows
from workers.training.calibration.notebook import Notebook

WORK = Path("~/.cache/rheostat/video_quality")


@dataclass(frozen=True)
class Bench:
    """Everything a process needs: arms, what runs them, where outcomes are kept, which arms could not be."""

    scale: Scale
    arms: Sequence[Arm]
    studio: Studio
    store: Store
    refused: dict[str, str]

    def run(self, minutes: float) -> list[str]:
        """Work until all is done or the time is up; names of the arms that failed."""
        return work(self.store, self._items(), make_with(self.studio, self.store), minutes, needed)

    def clock(self, repeats: int) -> list[dict[str, Any]]:
        """Times of the arms that a limit is set for."""
        return clocks(self.studio, timed_arms(self.arms, self.scale), self._notebook, repeats)

    @property
    def clock_rows(self) -> list[dict[str, Any]]:
        """What was timed so far."""
        return [json.loads(path.read_text()) for path in sorted((self.store.folder / "clock").glob("*.json"))]

    @property
    def _notebook(self) -> Notebook:
        return Notebook(self.store.folder / "clock")

    def outcomes(self) -> dict[str, Outcome]:
        """Of the arms that were begun, each over the chunks it has, at most those of its reference."""
        found: dict[str, Outcome] = {}
        for arm in self.arms:
            most = min([_chunks(found, name, self.scale.chunk) for name in needed(arm)], default=arm.pairs)
            found |= outcomes(self.store, [arm], min(arm.pairs // self.scale.chunk, most))
        return found

    def _items(self) -> list[Item]:
        kinds = dict.fromkeys(arm.captions for arm in self.arms)
        found: list[Item] = []
        for kind in kinds:
            own = [arm for arm in self.arms if arm.captions == kind]
            found += items(own, held_out(max(arm.pairs for arm in own), kind), self.scale.chunk)
        return sorted(found, key=lambda item: (item.chunk, item.arm.rank))


def _chunks(found: dict[str, Outcome], name: str, size: int) -> int:
    return len(found[name].columns["movers"]) // size if name in found else 0


def make_with(studio: Studio, store: Store) -> Callable[[Item], Columns]:
    """How an item is made: run, measured, and stamped with the code and the load it was run under."""

    def make(item: Item) -> Columns:
        load = os.getloadavg()[0]
        made = studio.make(item.arm, item.pairs)
        full = [store.read(name, item.chunk) for name in needed(item.arm)]
        columns = measured(item.arm, item.pairs, made, full[0] if full else None)
        return stamped(columns, len(item.pairs), load)

    return make


def main() -> None:
    options = _options()
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")  # of the processes started here, too
    bench = prepare(options)
    if options.clock:
        print(json.dumps({"clock": bench.clock(options.repeats)}))
        return
    failed = [] if options.report_only else in_processes(__package__, options, bench.run)
    if not options.no_report:
        report = write(options, bench)
        print(json.dumps({"pairs": report["pairs"], "failed": failed, "aims": report["aims"]}))
    sys.exit(1 if failed else 0)


def prepare(options: argparse.Namespace) -> Bench:
    """The arms of these options and the folder that belongs to them."""
    torch.set_num_threads(1)
    scale = Scale(options.pairs, options.rest_pairs, options.strata_pairs, options.chunk, options.steps)
    studio = Studio(options.teacher, options.steps)
    tuned = json.loads(options.peers.read_text())["candidates"] if options.peers else []
    wanted = [*references(scale), *student_arms(scale, options.student), *teacher_arms(scale)]
    arms, refused = plannable([*wanted, *peer_arms(scale, tuned)], studio.entry, studio.steps)
    entries = [studio.entry(), *(studio.entry(each.folder) for each in options.student)]
    weights = [[entry.digest, entry.calibration] for entry in entries]
    given = [weights, file_hash(options.peers), studio.steps, scale.chunk, CAPTION_SEED]
    folder = options.work or WORK.expanduser() / settings_hash(given)
    return Bench(scale, arms, studio, Store(folder), refused)


def write(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """The report as JSON, page and plot."""
    report = assemble(options, bench)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "pare.json").write_text(json.dumps(report, indent=2) + "\n")
    (out / "pare.md").write_text(page(report))
    draw(report["rows"], out / "pare.png")
    print(f"{report['pairs']} pairs, {len(report['rows'])} arms: {out / 'pare.md'}")
    return report


def assemble(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """Everything that is told, without writing it."""
    found = bench.outcomes()
    if FULL not in found:
        sys.exit("not one chunk of the unabridged run is done; give it more minutes")
    table, clock, adaptive = rows(found), bench.clock_rows, adaptivity(found)
    entry = bench.studio.entry()
    return {
        "benchmark": "video_quality",
        "command": shlex.join(["python", "-m", "benchmarks.video_quality", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "teacher": entry.name,
        "students": [f"{each.name} ({each.folder.name})" for each in options.student],
        "digest": entry.digest,
        "peers_sha256": file_hash(options.peers),
        "load": float(np.mean([each.columns["load"].mean() for each in found.values()])),
        "code": sorted({str(name) for each in found.values() for name in each.columns["code"]}),
        "pairs": len(found[FULL].columns["movers"]),
        "steps": bench.studio.steps,
        "scale": asdict(bench.scale),
        "matched": bench.scale.matched,
        "aims": aims(table, clock, adaptive, bench.scale),
        "adaptivity": adaptive,
        "clock": clock,
        "rows": table,
        "refused": bench.refused,
    }


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", default="wan-tiny", help="a name or a folder")
    parser.add_argument(
        "--student", action="append", default=[], type=Student.parse, help="name=folder[:a+b]"
    )
    parser.add_argument("--peers", type=Path, help="what `tune` wrote; without it DBPrune is not run")
    parser.add_argument("--pairs", type=int, default=Scale.pairs)
    parser.add_argument(
        "--rest-pairs", type=int, default=Scale.rest_pairs, help="of what no verdict rests on"
    )
    parser.add_argument("--strata-pairs", type=int, default=Scale.strata_pairs, help="easy and hard, each")
    parser.add_argument("--chunk", type=int, default=Scale.chunk, help="pairs run and stored together")
    parser.add_argument("--steps", type=int, help="default: the teacher's")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--max-minutes", type=float, default=float("inf"))
    parser.add_argument("--repeats", type=int, default=5, help="of the clock")
    parser.add_argument("--clock", action="store_true", help="take times, and nothing else")
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--no-report", action="store_true")
    options = parser.parse_args(arguments)
    counts = (options.pairs, options.rest_pairs, options.strata_pairs)
    if any(count % options.chunk for count in counts):
        parser.error(f"pairs are run {options.chunk} at a time: give multiples")
    return options


if __name__ == "__main__":
    main()
