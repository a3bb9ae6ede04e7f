"""Whether saved FLOPs are saved seconds, and what deciding costs.

clock    the denoise stage at budgets .5 and .25 against the unabridged run: interleaved pairs (full, arm),
         the median of their ratios. SoftCap must be at most .55 and .30. Ceiling: the share it spent.
control  the seconds inside a cache's begin, at and end, forecasts included, in a run at budget .5, against
         the seconds of the unabridged run beside it, which has as many evaluations: so an evaluation's
         control against a full one. At most 3 % on flux-tiny and 1 % on the wide model. `rest` is all of the
         denoise stage that is no network: control, solver, bookkeeping.

Models, float32: flux-tiny at its own steps, alone and eight at once; and `wide`, randomly initialised, 19 +
38 blocks, width 256, 256 latent tokens, 12 steps, whose calibration is made here: fixed paths with linear
forecasts, whose choice is made and leads nowhere. It shows time, not quality, and of SoftCap alone: a run
takes a quarter of a minute. Nothing else may run meanwhile. Rows are kept in `--work`, and a run that is cut
off goes on where it ended; after a change of code or calibration give another.

    python -m benchmarks.control_wall_clock --pairs 5
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.reports import RESULTS, machine, publish
from benchmarks.wide_flux import STEPS, build_wide
from protocol.plan import Plan
from workers.acceleration import Methods
from workers.core import Stack
from workers.engine import Engine, Result
from workers.models import Model, load
from workers.training.calibration.notebook import Notebook
from workers.training.scenes import caption_of, unique_attributes

CLOCK_LIMITS = {0.5: 0.55, 0.25: 0.30}
CLOCK_METHODS = ("softcap", "softcap-paper", "static")
CONTROL_LIMITS = {"flux-tiny": 0.03, "wide": 0.01}
CONTROL_METHODS = ("softcap", "softcap-paper", "teacache", "first-block-cache", "speca")
CONTROL_BUDGET = 0.5
WIDE = "wide"
CAPTION_SEED, FIRST_SEED = 41, 60_000
WORK = Path("~/.cache/rheostat/control_wall_clock")


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    pairs = 1 if options.smoke else options.pairs
    clocks, controls = [], []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) if options.smoke else options.work.expanduser()
        for name in options.models:
            model = load(
                build_wide(Path(folder) / WIDE, CLOCK_LIMITS) if name == WIDE else name, dtype="float32"
            )
            notebook = Notebook(work / f"{name}-{pairs}")
            clocks += _clocks(model, pairs, notebook)
            controls += _controls(model, pairs, notebook)
    report = {
        "benchmark": "control_wall_clock",
        "command": shlex.join(["python", "-m", "benchmarks.control_wall_clock", *sys.argv[1:]]),
        "machine": machine(),
        "pairs": pairs,
        "wide_steps": STEPS,
        "clocks": clocks,
        "controls": controls,
        "passed": all(row["passed"] for row in [*clocks, *controls]),
    }
    publish(report, as_markdown(report), None if options.smoke else options.out)
    sys.exit(0 if report["passed"] else 1)


def _clocks(model: Model, pairs: int, notebook: Notebook) -> list[dict[str, Any]]:
    batches, methods = ((1,), ("softcap",)) if model.name == WIDE else ((1, 8), CLOCK_METHODS)
    return [
        notebook.entry(
            f"clock-{batch}-{method}-{budget:g}", partial(wall_clock, model, batch, pairs, method, budget)
        )
        for batch, method, budget in itertools.product(batches, methods, CLOCK_LIMITS)
    ]


def _controls(model: Model, pairs: int, notebook: Notebook) -> list[dict[str, Any]]:
    methods = ("softcap", "softcap-paper") if model.name == WIDE else CONTROL_METHODS
    return [
        notebook.entry(f"control-{method}", partial(control_cost, model, method, pairs)) for method in methods
    ]


def bodies(model: Model, first: int, count: int, budget: float, method: str | None) -> list[dict[str, Any]]:
    """Requests for `count` pairs (caption, seed) from number `first` on."""
    captions = unique_attributes(first + count, CAPTION_SEED, "heldout")[first:]
    spend: dict[str, Any] = {"fraction": budget, "methods": [method]} if method else {"fraction": budget}
    return [
        {
            "model": model.name,
            "input": {"prompt": caption_of(each), "seed": FIRST_SEED + first + place},
            "compute_budget": spend,
        }
        for place, each in enumerate(captions)
    ]


def wall_clock(model: Model, batch: int, pairs: int, method: str, budget: float) -> dict[str, Any]:
    """One arm in pairs of (full, arm) on other captions each, after one warm-up."""
    engine, ratios, taken, spent = Engine(model), [], [], []
    for pair in range(pairs + 1):
        first = pair * batch
        full = engine.run(bodies(model, first, batch, 1.0, None))
        arm = engine.run(bodies(model, first, batch, budget, method))
        if pair:
            ratios.append(_denoise(arm) / _denoise(full))
            taken.append(_denoise(arm))
            spent += [result.receipt.spent for result in arm]
    ratio, limit = statistics.median(ratios), CLOCK_LIMITS[budget] if method == "softcap" else None
    return {
        "model": model.name,
        "batch": batch,
        "method": method,
        "budget": budget,
        "spent": round(statistics.fmean(spent), 4),
        "seconds": round(statistics.median(taken), 4),
        "ratio": round(ratio, 4),
        "ratios": [round(each, 4) for each in ratios],
        "limit": limit,
        "passed": limit is None or ratio <= limit,
    }


def _denoise(results: Sequence[Result]) -> float:
    return sum(result.stage_seconds["denoise"] for result in results)


class Stopwatch:
    """Stands for an object and times some of its methods."""

    def __init__(self, timed: Any, names: Sequence[str]) -> None:
        self._timed, self._names, self._seconds = timed, names, 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._timed, name)
        if name not in self._names:
            return found

        def call(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return found(*given, **named)
            finally:
                self._seconds += time.perf_counter() - started

        return call

    def take(self) -> float:
        """The seconds since last asked."""
        taken, self._seconds = self._seconds, 0.0
        return taken


class _Bench:
    """An engine whose network and caches are timed."""

    def __init__(self, model: Model) -> None:
        self._methods = Methods(model.network.layout, model.calibration)
        self._caches: dict[int, Stopwatch] = {}
        self.engine = Engine(model, build_stack=self._stack)

    def control_seconds(self) -> float:
        return sum(cache.take() for cache in self._caches.values())

    def _stack(self, plan: Plan) -> Stack:
        stack = self._methods.stack(plan)
        if stack.cache is None:
            return stack
        timed: Any = self._caches.setdefault(id(stack.cache), Stopwatch(stack.cache, ("begin", "at", "end")))
        return Stack(timed, stack.router)


def control_cost(model: Model, method: str, pairs: int) -> dict[str, Any]:
    """The control layer's share of a full evaluation, batch 1, medians over pairs after one warm-up."""
    network = Stopwatch(model.network, ("embed", "block", "head"))
    controls, rests, full_rests, steps = [], [], [], []
    with patch.object(model, "network", network):
        bench = _Bench(model)
        for pair in range(pairs + 1):
            full = _denoise(bench.engine.run(bodies(model, pair, 1, 1.0, None)))
            full_rest = full - network.take()
            arm = bench.engine.run(bodies(model, pair, 1, CONTROL_BUDGET, method))
            rest, control = _denoise(arm) - network.take(), bench.control_seconds()
            if pair:
                controls.append(control / full)
                rests.append(rest / full)
                full_rests.append(full_rest / full)
                steps.append(full / model.catalog.defaults.num_inference_steps)
    share, limit = statistics.median(controls), CONTROL_LIMITS.get(model.name)
    return {
        "model": model.name,
        "method": method,
        "full_evaluation_ms": round(1e3 * statistics.median(steps), 3),
        "control_ms": round(1e3 * share * statistics.median(steps), 4),
        "control_share": round(share, 5),
        "control_shares": [round(each, 5) for each in controls],
        "rest_share": round(statistics.median(rests), 5),
        "rest_share_of_full_run": round(statistics.median(full_rests), 5),
        "limit": limit,
        "passed": limit is None or share <= limit,
    }


def as_markdown(report: dict[str, Any]) -> str:
    """Both tables, command on top."""
    lines = [
        "# Wall clock and the cost of control",
        "",
        f"`{report['command']}`",
        "",
        f"{report['machine']}, float32, {report['pairs']} interleaved pairs. Wide: 19 + 38 blocks, width 256,"
        f" 256 latent tokens, {report['wide_steps']} steps, random weights.",
        "",
        "Denoise stage against the unabridged run: median, least to most.",
        "",
        "| model | batch | method | budget | spent | seconds | ratio | limit |",
        "|---" * 8 + "|",
        *(_clock_row(row) for row in report["clocks"]),
        "",
        "Control at budget .5, an evaluation's against a full evaluation; rest is all that is not network.\n",
        "| model | method | full ms | control ms | control | limit | rest | rest of the full run |",
        "|---" * 8 + "|",
        *(_control_row(row) for row in report["controls"]),
    ]
    return "\n".join(lines) + "\n"


def _clock_row(row: dict[str, Any]) -> str:
    arm = f"{row['model']} | {row['batch']} | {row['method']} | {row['budget']:g} | {row['spent']:.3f}"
    ratio = f"{row['ratio']:.3f} ({min(row['ratios']):.3f} to {max(row['ratios']):.3f})"
    return f"| {arm} | {row['seconds']:.3f} | {ratio} | {row['limit'] or ''} |"


def _control_row(row: dict[str, Any]) -> str:
    names = ("control_share", "limit", "rest_share", "rest_share_of_full_run")
    told = " | ".join("" if row[name] is None else f"{row[name]:.2%}" for name in names)
    times = f"{row['full_evaluation_ms']:.2f} | {row['control_ms']:.3f}"
    return f"| {row['model']} | {row['method']} | {times} | {told} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["flux-tiny", WIDE])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--smoke", action="store_true", help="one pair, nothing written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
