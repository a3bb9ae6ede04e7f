"""Eight rows of one batch with masks and budgets of their own: the clock against the blocks that run.

For sets of budgets of falling mean, denoising of eight clips together against eight whose student runs all
its blocks, and against the unpruned network's share. Rounds are interleaved and each ratio is within its
round. Ceiling: the mean share of the student's blocks, if routing were free and a block of fewer rows as fast
a row. `same` sets ask one budget of all rows, so a block's rows differ by the router's choice alone; `mixed`
ones ask eight. The mixed set's rows are compared bit by bit with each row alone.

Random weights of wan-tiny's size unless a model is named: the clock does not mind. float32, guided (16 rows).
Nothing else may run on the cores meanwhile.

    python -m benchmarks.mixed_masks --rounds 5
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.reports import RESULTS, machine, publish, spread, spread_cell
from tests.plugins.pare import StudentRecipe, build_student
from workers.engine import Engine, Result
from workers.models import Model, load

WHOLE = "all blocks"
SETS: dict[str, tuple[float, ...]] = {
    WHOLE: (1.0,) * 8,
    "same 1": (1.0,) * 8,
    "same .5": (0.5,) * 8,
    "mixed": (0.6, 0.55, 0.5, 0.5, 0.45, 0.4, 0.35, 0.3),
    "same .35": (0.35,) * 8,
    "mixed low": (0.5, 0.4, 0.35, 0.3, 0.3, 0.25, 0.25, 0.2),
    "same .25": (0.25,) * 8,
}
"""Shares of the unpruned network's compute. The first set leaves out the router."""
WAN_TINY = StudentRecipe(num_layers=10, heads=10, kept_heads=7, ffn_dim=448, kept_neurons=320)
SIZE = {"width": 32, "height": 32, "num_frames": 9}
FIRST_SEED = 60_000


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = load(
            options.model or build_student(Path(folder) / "random-student", WAN_TINY), dtype="float32"
        )
        bits = same_bits(model, options.steps)
        clocks = wall_clocks(model, options.rounds, options.steps)
    clocks.sort(key=lambda clock: -float(clock["mean_blocks"]))
    falls = all(earlier["ratio"] > later["ratio"] for earlier, later in pairwise(clocks))
    report = {
        "benchmark": "mixed_masks",
        "command": shlex.join(["python", "-m", "benchmarks.mixed_masks", *sys.argv[1:]]),
        "machine": machine(),
        "model": model.name,
        "random_weights": options.model is None,
        "blocks": model.network.layout.num_blocks,
        "steps": options.steps,
        "same_bits": bits,
        "clocks": clocks,
        "clock_falls_with_mean_blocks": falls,
        "passed": falls and all(bits),
    }
    publish(report, as_markdown(report), None if options.smoke else options.out)
    sys.exit(0 if report["passed"] or options.smoke else 1)


def bodies(model: Model, name: str, steps: int) -> list[dict[str, Any]]:
    """A request a budget; the router is the only method, so that no step is left out."""
    methods = [] if name == WHOLE else ["pare"]
    return [
        {
            "model": model.name,
            "input": {
                "prompt": "a red apple",
                "seed": FIRST_SEED + place,
                "num_inference_steps": steps,
                **SIZE,
            },
            "compute_budget": {"fraction": budget, "mode": "hard", "methods": methods},
        }
        for place, budget in enumerate(SETS[name])
    ]


def same_bits(model: Model, steps: int) -> list[bool]:
    """For each row of the mixed set, whether its latents are those of its run alone."""
    asked = bodies(model, "mixed", steps)
    together = Engine(model).run(asked)
    alone = [Engine(model).run([body])[0] for body in asked]
    return [
        torch.equal(company.samples[0].latents, single.samples[0].latents)
        for company, single in zip(together, alone, strict=True)
    ]


def wall_clocks(model: Model, rounds: int, steps: int) -> list[dict[str, Any]]:
    """Each set's denoising time against that of all blocks in the same round."""
    engine = Engine(model)
    engine.run(bodies(model, WHOLE, steps))
    seconds: dict[str, list[float]] = {name: [] for name in SETS}
    results: dict[str, list[Result]] = {}
    for _ in range(rounds):
        for name in SETS:
            results[name] = engine.run(bodies(model, name, steps))
            seconds[name].append(sum(result.stage_seconds["denoise"] for result in results[name]))
    return [_clock(name, seconds, results[name]) for name in SETS]


def _clock(name: str, seconds: dict[str, list[float]], results: Sequence[Result]) -> dict[str, Any]:
    lines = [line for result in results for line in result.samples[0].receipt.steps]
    ratios = [taken / whole for taken, whole in zip(seconds[name], seconds[WHOLE], strict=True)]
    return {
        "set": name,
        "budgets": list(SETS[name]),
        "mean_blocks": round(statistics.fmean(line.blocks_run for line in lines), 4),
        "share_of_blocks": round(statistics.fmean(line.blocks_run / line.blocks_total for line in lines), 4),
        "mean_spent": round(statistics.fmean(result.receipt.spent for result in results), 4),
        "seconds": round(statistics.median(seconds[name]), 4),
        **spread(ratios),
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The table, command on top."""
    weights = "random weights" if report["random_weights"] else "its own weights"
    lines = [
        "# Mixed masks in one batch",
        "",
        f"`{report['command']}`",
        "",
        f"{report['model']}, {weights}, {report['blocks']} blocks, {report['steps']} steps, float32,"
        f" {report['machine']}.",
        "",
        f"Rows of the mixed set with the bits of their run alone: {sum(report['same_bits'])} of"
        f" {len(report['same_bits'])}.",
        "",
        "Denoising of eight rows against eight that run all the student's blocks; medians, least to most.",
        "",
        "| budgets | mean blocks | share of blocks | mean spent | seconds | ratio |",
        "|---" * 6 + "|",
        *(_row(clock) for clock in report["clocks"]),
    ]
    return "\n".join(lines) + "\n"


def _row(clock: dict[str, Any]) -> str:
    shares = f"{clock['mean_blocks']:.2f} | {clock['share_of_blocks']:.3f} | {clock['mean_spent']:.3f}"
    return f"| {clock['set']} | {shares} | {clock['seconds']:.3f} | {spread_cell(clock)} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a PARE student; random weights where none is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="one round of two steps, nothing written")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.steps = 1, 2
    return options


if __name__ == "__main__":
    main()
