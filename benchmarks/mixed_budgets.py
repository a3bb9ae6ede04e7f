"""Eight rows of one batch at eight budgets: each as it is alone, and the batch as fast as its mean budget.

alone      budgets 1, .9, .75, .6, .5, .35, .25, .2 in one engine under the planner's choice: every row's
           receipt, line by line but for the seconds, and every bit of its latents are those of its run alone.
clock      denoising of eight rows together, for sets of budgets of falling mean, against eight full ones.
           Rounds are interleaved and each ratio is within its round. Ceiling: the mean share spent, if
           control were free and a forward of fewer rows as fast a row; the rest is what narrow forwards lose.

float32, held-out captions, one seed a row. Nothing else may run on the cores meanwhile.

    python -m benchmarks.mixed_budgets --rounds 5
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.reports import RESULTS, machine, publish, spread, spread_cell
from workers.engine import Engine, Result
from workers.models import Model, load
from workers.training.scenes import caption_of, unique_attributes

MIXED = (1.0, 0.9, 0.75, 0.6, 0.5, 0.35, 0.25, 0.2)
SETS: dict[str, tuple[float, ...]] = {
    "all 1": (1.0,) * 8,
    "mean .75": (1.0, 1.0, 0.9, 0.75, 0.75, 0.6, 0.5, 0.5),
    "mixed": MIXED,
    "mean .5": (0.9, 0.75, 0.6, 0.5, 0.35, 0.35, 0.3, 0.25),
    "mean .25": (0.35, 0.3, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2),
}
CAPTION_SEED, FIRST_SEED = 37, 50_000


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    model = load(options.model, dtype="float32")
    rows = alone_and_together(model)
    clocks = wall_clocks(model, options.rounds)
    falls = all(earlier["ratio"] > later["ratio"] for earlier, later in pairwise(clocks))
    report = {
        "benchmark": "mixed_budgets",
        "command": shlex.join(["python", "-m", "benchmarks.mixed_budgets", *sys.argv[1:]]),
        "machine": machine(),
        "model": model.name,
        "steps": model.catalog.defaults.num_inference_steps,
        "calibration": model.catalog.calibration,
        "rows": rows,
        "clocks": clocks,
        "clock_falls_with_mean_budget": falls,
        "passed": falls and all(row["same_lines"] and row["same_bits"] for row in rows),
    }
    publish(report, as_markdown(report), None if options.smoke else options.out)
    sys.exit(0 if report["passed"] else 1)


def bodies(model: Model, budgets: Sequence[float]) -> list[dict[str, Any]]:
    """A request a budget, each with a caption and a seed of its own."""
    captions = unique_attributes(len(budgets), CAPTION_SEED, "heldout")
    return [
        {
            "model": model.name,
            "input": {"prompt": caption_of(each), "seed": FIRST_SEED + place},
            "compute_budget": budget,
        }
        for place, (each, budget) in enumerate(zip(captions, budgets, strict=True))
    ]


def alone_and_together(model: Model) -> list[dict[str, Any]]:
    """One row a budget: whether the batch changed what it did or what it became."""
    asked = bodies(model, MIXED)
    together = Engine(model).run(asked)
    alone = [Engine(model).run([body])[0] for body in asked]
    return [
        {
            "budget": budget,
            "methods": list(company.samples[0].receipt.plan.methods),
            "granted": round(company.receipt.granted, 4),
            "spent": round(company.receipt.spent, 4),
            "same_lines": _lines(company) == _lines(single),
            "same_bits": torch.equal(company.samples[0].latents, single.samples[0].latents),
        }
        for budget, company, single in zip(MIXED, together, alone, strict=True)
    ]


def wall_clocks(model: Model, rounds: int) -> list[dict[str, Any]]:
    """Each set's denoising time against that of the eight full ones in the same round."""
    engine = Engine(model)
    _denoise(engine, model, SETS["all 1"])
    ratios: dict[str, list[float]] = {name: [] for name in SETS}
    seconds: dict[str, list[float]] = {name: [] for name in SETS}
    spent: dict[str, float] = {}
    for _ in range(rounds):
        for name, budgets in SETS.items():
            taken, spent[name] = _denoise(engine, model, budgets)
            seconds[name].append(taken)
            ratios[name].append(taken / seconds["all 1"][-1])
    return [
        {
            "set": name,
            "budgets": list(budgets),
            "mean_budget": round(statistics.fmean(budgets), 4),
            "mean_spent": round(spent[name], 4),
            "seconds": round(statistics.median(seconds[name]), 4),
            **spread(ratios[name]),
        }
        for name, budgets in SETS.items()
    ]


def _denoise(engine: Engine, model: Model, budgets: Sequence[float]) -> tuple[float, float]:
    """Seconds of all turns that denoised, and the mean share spent."""
    results = engine.run(bodies(model, budgets))
    seconds = sum(result.stage_seconds["denoise"] for result in results)
    return seconds, statistics.fmean(result.receipt.spent for result in results)


def _lines(result: Result) -> list[dict[str, Any]]:
    """The receipt's lines without their seconds, which no two runs share."""
    return [line.model_dump(exclude={"seconds"}) for line in result.samples[0].receipt.steps]


def as_markdown(report: dict[str, Any]) -> str:
    """Both tables, command on top."""
    lines = [
        "# Mixed budgets in one batch",
        "",
        f"`{report['command']}`",
        "",
        f"{report['model']}, {report['steps']} steps, float32, calibration {report['calibration']},"
        f" {report['machine']}.",
        "",
        "| budget | method | granted | spent | same lines as alone | same bits as alone |",
        "|---" * 6 + "|",
        *(_alone_row(row) for row in report["rows"]),
        "",
        "Denoising of eight rows against eight full ones; medians, least to most.",
        "",
        "| budgets | mean budget | mean spent | seconds | ratio |",
        "|---" * 5 + "|",
        *(_clock_row(row) for row in report["clocks"]),
    ]
    return "\n".join(lines) + "\n"


def _alone_row(row: dict[str, Any]) -> str:
    same = " | ".join("yes" if row[name] else "no" for name in ("same_lines", "same_bits"))
    method = ", ".join(row["methods"]) or "none"
    return f"| {row['budget']:g} | {method} | {row['granted']:.3f} | {row['spent']:.3f} | {same} |"


def _clock_row(row: dict[str, Any]) -> str:
    shares = f"{row['mean_budget']:.3f} | {row['mean_spent']:.3f}"
    return f"| {row['set']} | {shares} | {row['seconds']:.3f} | {spread_cell(row)} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="flux-tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="one round, nothing written")
    options = parser.parse_args()
    if options.smoke:
        options.rounds = 1
    return options


if __name__ == "__main__":
    main()
