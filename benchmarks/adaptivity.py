"""Whether prompts that are hard get more, and whether that pays at equal mean compute.

SoftCap alone, soft. Spent per caption against difficulty, by rank correlation: two different objects against
one kind, and the distance the *fixed* path (mode "hard": one path for all) has on that caption at the same
grant. Then, at equal mean compute, adaptive against

fixed    the fixed path at the two grants around the adaptive mean, each caption's distance set between them;
dealt    the paths the adaptive runs took, dealt to captions at random: each caption's expected distance. What
         is gained here is gained by reading the prompt and not by mixing paths.

Below 1 the adaptivity pays. Ceiling of its use: at budget 1 there is nothing left to distribute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality_vs_compute.distances import latent_distance
from benchmarks.quality_vs_compute.intervals import mean, ratio, tail_mean
from workers.engine import Engine, EngineSettings, Result
from workers.models import Model
from workers.training.scenes import Attributes, caption_of

FIRST_SEED = 40_000
IN_FLIGHT = 8
ROUNDING = 1e-9
"""Shares are quotients of integers."""

Floats = NDArray[np.float64]


class Desk:
    """Asks for the same pairs (caption, seed), one a combination, under different budgets."""

    def __init__(self, model: Model, attributes: Sequence[Attributes]) -> None:
        self.model = model
        self.attributes = attributes
        self.steps = model.catalog.defaults.num_inference_steps
        self._full: list[Result] = []
        self._fixed: dict[int, list[Result]] = {}

    def inputs(self) -> list[dict[str, Any]]:
        """The native `input` of every pair."""
        return [
            {"prompt": caption_of(each), "seed": FIRST_SEED + place}
            for place, each in enumerate(self.attributes)
        ]

    def run(self, **budget: Any) -> list[Result]:
        """All pairs under one budget, eight in flight."""
        engine = Engine(self.model, EngineSettings(max_samples=IN_FLIGHT, max_rows=IN_FLIGHT))
        bodies = [
            {"model": self.model.name, "input": given, "compute_budget": budget} for given in self.inputs()
        ]
        return engine.run(bodies)

    def fixed(self, evaluations: int) -> list[Result]:
        """All pairs on the fixed path that makes so many full evaluations."""
        if evaluations not in self._fixed:
            share = evaluations / self.steps
            self._fixed[evaluations] = self.run(fraction=share, mode="hard", methods=["softcap"])
        return self._fixed[evaluations]

    def distances(self, results: Sequence[Result]) -> Floats:
        """Relative L2 of each pair's latents to its unabridged run's, (n,)."""
        self._full = self._full or self.run(fraction=1.0)
        return latent_distance(latents_of(results), latents_of(self._full))


def adaptivity(desk: Desk, budget: float) -> dict[str, Any]:
    """SoftCap's spending against difficulty, and its distances against the fixed path's."""
    results = desk.run(fraction=budget, mode="soft", methods=["softcap"])
    spent, ours = spent_of(results), desk.distances(results)
    granted = round(results[0].receipt.granted * desk.steps)
    fixed_at_grant = desk.distances(desk.fixed(granted))
    pairs = np.array([each.kind == "pair" for each in desk.attributes], dtype=np.float64)
    fixed, dealt = _fixed_at(desk, float(spent.mean())), _dealt(desk, spent)
    means, tails, read = ratio(ours, fixed), ratio(ours, fixed, tail_mean), ratio(ours, dealt)
    by_distance = rank_correlation(spent, fixed_at_grant)
    return {
        "budget": budget,
        "granted": round(results[0].receipt.granted, 4),
        "spent": round(float(spent.mean()), 4),
        "spent_by_kind": {
            kind: round(float(spent[[each.kind == kind for each in desk.attributes]].mean()), 4)
            for kind in sorted({each.kind for each in desk.attributes})
        },
        "rank_correlation_two_objects": rank_correlation(spent, pairs),
        "rank_correlation_fixed_distance": by_distance,
        "rank_correlation_two_objects_fixed_distance": rank_correlation(pairs, fixed_at_grant),
        "adaptive_mean": round(float(mean(ours)), 5),
        "adaptive_tail": round(float(tail_mean(ours)), 5),
        "fixed_mean": round(float(mean(fixed)), 5),
        "fixed_tail": round(float(tail_mean(fixed)), 5),
        "mean_ratio": [round(each, 4) for each in astuple(means)],
        "tail_ratio": [round(each, 4) for each in astuple(tails)],
        "dealt_ratio": [round(each, 4) for each in astuple(read)],
        "passed": (by_distance or 0.0) > 0 and means.high < 1 and read.high < 1,
    }


def rank_correlation(a: Floats, b: Floats) -> float | None:
    """Spearman's: Pearson's of the ranks, ties sharing their mean rank; None where one side is constant.

    Args:
        a, b: (n,).
    """
    one, other = _ranks(a), _ranks(b)
    if not one.std() or not other.std():
        return None
    return round(float(np.corrcoef(one, other)[0, 1]), 4)


def _ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    highest = counts.cumsum()
    ranks: Floats = (highest - (counts - 1) / 2)[places]
    return ranks


def _fixed_at(desk: Desk, share: float) -> Floats:
    """Each pair's distance on the fixed path at this mean share: between the two grants around it, (n,)."""
    lower = min(max(1, math.floor(share * desk.steps + ROUNDING)), desk.steps - 1)
    below, above = desk.fixed(lower), desk.fixed(lower + 1)
    start, end = float(spent_of(below).mean()), float(spent_of(above).mean())
    way = (share - start) / (end - start) if end > start else 0.0
    distances: Floats = (1 - way) * desk.distances(below) + way * desk.distances(above)
    return distances


def _dealt(desk: Desk, spent: Floats) -> Floats:
    """Each pair's expected distance (n,) if the paths that were taken were dealt out blindly."""
    counts, times = np.unique(np.round(spent * desk.steps).astype(int), return_counts=True)
    distances: Floats = np.zeros(len(spent))
    for count, share in zip(counts, times / len(spent), strict=True):
        distances = distances + share * desk.distances(desk.fixed(int(count)))
    return distances


def spent_of(results: Sequence[Result]) -> Floats:
    """Shares of full compute (n,)."""
    return np.array([result.receipt.spent for result in results])


def latents_of(results: Sequence[Result]) -> list[torch.Tensor]:
    """The final latents of each pair."""
    return [result.samples[0].latents for result in results]


def adaptive_row(row: dict[str, Any]) -> str:
    """A line of the table."""
    correlations = [row["rank_correlation_two_objects"], row["rank_correlation_fixed_distance"]]
    told = " | ".join("none" if each is None else f"{each:+.2f}" for each in correlations)
    cells = [f"{row['budget']:g}", f"{row['spent']:.3f}", told]
    for figure, names in (("mean", ("mean", "dealt")), ("tail", ("tail",))):
        ratios = [row[f"{name}_ratio"] for name in names]
        cells.append(f"{row[f'adaptive_{figure}']:.4f}")
        cells += [f"{estimate:.3f} ({low:.3f} to {high:.3f})" for estimate, low, high in ratios]
    return f"| {' | '.join(cells)} |"
