"""Which space is best to extrapolate in: flows, data, noise, or the features behind the last block.

    python -m benchmarks.forecast_space [--captions 100]

One model, the same held-out pairs in all arms, the same full evaluations in all spaces: `static` at an even
schedule of so many, forecasts of order 1 and 2 by Newton's form. What differs is the space alone. Measured:
the relative distance of the final latents to the unabridged run's, mean and worst 5 %, and the ratio of means
to the flow's with a paired bootstrap (95 %); below 1 the space is better. The share spent is counted, as
features also run the embedding and the head. `softcap-paper` runs under the same spaces; what it decides from
is always features. Order 0 needs no measurement: all spaces of outputs are the same there. Writes
docs/results/forecast_space.json and .md; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality_vs_compute.distances import latent_distance
from benchmarks.quality_vs_compute.intervals import ratio, tail_mean
from benchmarks.quality_vs_compute.pairs import Pair, held_out
from benchmarks.reports import RESULTS, machine, publish
from protocol.cost import price
from protocol.jobs import GenerationRequest
from protocol.plan import Plan
from protocol.resolve import resolve
from workers.acceleration.spaces import Space
from workers.engine import Engine, EngineSettings, Result
from workers.engine.events import Finished
from workers.models import Model, load

IN_FLIGHT = 8
ORDERS = (1, 2)
PAPER = "softcap-paper"


@dataclass(frozen=True)
class Arm:
    """What one line of the table ran under."""

    method: str
    num_full: int
    order: int
    space: Space

    @property
    def parameters(self) -> dict[str, float]:
        if self.method == PAPER:
            return {"order": self.order, "space": self.space}
        return {"order": self.order, "space": self.space, "num_full": self.num_full, "warmup": 2, "newton": 1}


def arms(counts: Sequence[int]) -> list[Arm]:
    """All of them, the flow before the spaces that are held against it."""
    static = [Arm("static", count, order, space) for count in counts for order in ORDERS for space in Space]
    paper = [Arm(PAPER, count, 2, space) for count in counts for space in Space if space != Space.FEATURES]
    return static + paper


class Bench:
    """Runs the same pairs under every arm.

    Args:
        model: without a calibration's help: its plans are made here.
        pairs: held out.
    """

    def __init__(self, model: Model, pairs: Sequence[Pair]) -> None:
        self._model, self._pairs = model, pairs
        self._full = self.run(None)

    def run(self, arm: Arm | None) -> list[Result]:
        """All pairs in order; None: unabridged."""
        engine = Engine(
            self._model, EngineSettings(max_samples=IN_FLIGHT, max_rows=IN_FLIGHT, latents_only=True)
        )
        keys = [
            engine.add(body, plan=None if arm is None else self._plan(body, arm)) for body in self._bodies()
        ]
        results: dict[str, Result] = {}
        while not engine.idle:
            results |= {event.id: event.result for event in engine.step() if isinstance(event, Finished)}
        return [results[key] for key in keys]

    def distances(self, results: Sequence[Result]) -> NDArray[np.float64]:
        """Of each pair's latents to its unabridged run's, (n,)."""
        ours, theirs = ([each.samples[0].latents for each in runs] for runs in (results, self._full))
        return latent_distance(ours, theirs)

    def _bodies(self) -> list[dict[str, Any]]:
        inputs = ({"prompt": pair.caption, "seed": pair.seed} for pair in self._pairs)
        return [{"model": self._model.name, "input": given} for given in inputs]

    def _plan(self, body: dict[str, Any], arm: Arm) -> Plan:
        """Static arms are granted everything, so that no anchor is refused for what a space costs besides."""
        resolved = resolve(GenerationRequest.model_validate(body), self._model.catalog)
        steps = price(self._model.catalog, resolved).per_step_flop
        granted = sum(steps) if arm.method == "static" else sum(steps) * arm.num_full // len(steps)
        return Plan(
            methods=(arm.method,),
            num_inference_steps=len(steps),
            solver=self._model.catalog.solver,
            granted_flop=granted,
            full_flop=sum(steps),
            parameters=arm.parameters,
        )


def measure(bench: Bench, counts: Sequence[int]) -> list[dict[str, Any]]:
    """A row an arm."""
    rows, flows = [], {}
    for arm in arms(counts):
        results = bench.run(arm)
        found, group = bench.distances(results), (arm.method, arm.num_full, arm.order)
        flows.setdefault(group, found)
        against = ratio(found, flows[group])
        rows.append(
            {
                "method": arm.method,
                "num_full": arm.num_full,
                "order": arm.order,
                "space": arm.space.name.lower(),
                "spent": round(float(np.mean([result.receipt.spent for result in results])), 4),
                "mean": round(float(found.mean()), 5),
                "tail": round(float(tail_mean(found)), 5),
                "ratio": [round(each, 4) for each in astuple(against)],
            }
        )
        print(rows[-1], flush=True)
    return rows


def as_markdown(report: dict[str, Any]) -> str:
    """The table, command on top."""
    lines = [
        f"`{report['command']}`",
        "",
        f"`{report['model']}`, {report['captions']} held-out pairs, {report['steps']} steps, float32.",
        "Distance of the final latents to the unabridged run's; ratio of means to the flow's, with its 95 %",
        "interval by a paired bootstrap.",
        f"{report['machine']}.",
        "",
        "| method | full | order | space | spent | mean | worst 5 % | against flow |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        told = "{:.3f} ({:.3f} to {:.3f})".format(*row["ratio"])
        figures = (f"{row['spent']:.3f}", f"{row['mean']:.4f}", f"{row['tail']:.4f}", told)
        cells = (row["method"], row["num_full"], row["order"], row["space"], *figures)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="flux-tiny")
    parser.add_argument("--captions", type=int, default=100)
    parser.add_argument("--full", default="7,10,14", help="full evaluations, separated by commas")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(options.model, dtype="float32")
    counts = [int(each) for each in options.full.split(",")]
    report = {
        "benchmark": "forecast_space",
        "command": f"python -m benchmarks.forecast_space --captions {options.captions} --full {options.full}",
        "machine": machine(),
        "model": options.model,
        "captions": options.captions,
        "steps": model.catalog.defaults.num_inference_steps,
        "rows": measure(Bench(model, held_out(options.captions)), counts),
    }
    publish(report, as_markdown(report), options.out)


if __name__ == "__main__":
    main()
