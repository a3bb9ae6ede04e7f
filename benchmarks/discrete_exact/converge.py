"""Total variation against evaluations, without sampling error: laws moved by transition matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.discrete_exact.enumerable import Enumerable, autoregressive, point_masses, total_variation
from benchmarks.discrete_exact.kernels import run
from benchmarks.discrete_exact.published import PUBLISHED
from workers.sampling.discrete.plan import plan_moves
from workers.sampling.discrete.settings import read_settings

ARMS: dict[str, dict[str, Any]] = {
    **PUBLISHED,
    "exact L=3": {"corrector": "exact", "predictor": "euler", "updates": 3},
    "gated": {"corrector": "gated", "predictor": "euler"},
    "stale L=2": {"corrector": "stale", "predictor": "euler", "updates": 2, "threshold": None},
    "stale L=4 thr .1": {"corrector": "stale", "predictor": "euler", "updates": 4},
    "sync": {"corrector": "sync", "predictor": "euler", "threshold": None},
    "Tweedie + exact L=1": {"corrector": "exact"},
    "ours": {"corrector": "blocks"},
}
NFES = (8, 16, 32, 64, 128, 256)
_MOST_STATES = 100
"""Of a source on which the theta-trapezoidal matrix is made, which costs their cube."""
_FLOOR = 1e-7


def sources() -> dict[str, Enumerable]:
    """By name. The first is of the kind that GADD's figures for enumerable sources are about."""
    return {
        "S=4 d=4": autoregressive(4, 4, scale=0.9, seed=0),
        "S=2 d=6": autoregressive(2, 6, scale=1.0, seed=0),
        "S=3 d=4": autoregressive(3, 4, scale=1.0, seed=0),
        "S=5 d=3": autoregressive(5, 3, scale=1.0, seed=0),
        "S=4 d=4, 4 point masses": point_masses(4, 4, count=4, seed=0),
    }


def measure(max_nfe: int) -> list[dict[str, Any]]:
    """A row a source and arm: TV to the law at sigma .01 at every NFE."""
    nfes = [nfe for nfe in NFES if nfe <= max_nfe]
    rows = []
    for name, source in sources().items():
        for arm, asked in ARMS.items():
            errors = [error(source, asked, nfe) if _affordable(source, arm) else None for nfe in nfes]
            rows.append({"source": name, "arm": arm, "nfes": nfes, "tv": errors, **slopes(nfes, errors)})
    return rows


def error(source: Enumerable, asked: Mapping[str, Any], nfe: int) -> float:
    """TV of where a run ends, before the final denoising, to the exact law there."""
    names = {"predictor": None, **asked}
    own = {name: value for name, value in names.items() if name not in ("corrector", "predictor")}
    settings = read_settings(
        source.num_tokens,
        source.vocab_size,
        names["corrector"],
        names["predictor"],
        {"denoise": False, **own},
    )
    law = run(source, plan_moves(settings, nfe))
    return total_variation(law, source.at(settings.sigma_min))


def _affordable(source: Enumerable, arm: str) -> bool:
    return arm != "theta-trapezoidal" or len(source.states) <= _MOST_STATES


def slopes(nfes: Sequence[int], errors: Sequence[float | None]) -> dict[str, float | None]:
    """`slope`: of log TV over log NFE, least squares; `fall`: what a doubling divides TV by, at least."""
    points = [(math.log(n), math.log(e)) for n, e in zip(nfes, errors, strict=True) if e and e > _FLOOR]
    if len(points) < 2:
        return {"slope": None, "fall": None}
    mean = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    spread = sum((x - mean[0]) ** 2 for x, _ in points)
    slope = sum((x - mean[0]) * (y - mean[1]) for x, y in points) / spread
    return {"slope": slope, "fall": min(math.exp(now[1] - after[1]) for now, after in pairwise(points))}


def as_markdown(rows: Sequence[Mapping[str, Any]], command: str) -> str:
    """A table a source."""
    lines = [
        "## Exact fixtures",
        "",
        f"`{command}`",
        "",
        "Total variation to the exact law at sigma .01, from even tokens at sigma 6 on the geometric grid, by"
        " transition matrices over all sequences: no sampling error, no final denoising. `fall` is the least"
        " factor by which a doubling of NFE divides it, `slope` that of log TV over log NFE. At d = 4 stale"
        " and synchronous updates look worse than they are at d = 128. Of six tokens a block may have three,"
        " whose check is of second order: ours ends at a floor there. With point masses, even tokens at sigma"
        " 6 are already some .002 off.",
        "",
        "![TV over NFE](gadd.png)",
        "",
    ]
    for source in dict.fromkeys(row["source"] for row in rows):
        chosen = [row for row in rows if row["source"] == source]
        nfes = chosen[0]["nfes"]
        lines += [f"### {source}", "", f"| sampler | {' | '.join(map(str, nfes))} | slope | fall |"]
        lines += ["|---" * (len(nfes) + 3) + "|", *(_line(row) for row in chosen), ""]
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> str:
    errors = " | ".join("-" if each is None else f"{each:.5f}" for each in row["tv"])
    rest = " | ".join("-" if row[name] is None else f"{row[name]:.2f}" for name in ("slope", "fall"))
    return f"| {row['arm']} | {errors} | {rest} |"


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Log-log, a panel a source."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(row["source"] for row in rows))
    figure, panels = plt.subplots(1, len(names), figsize=(4.5 * len(names), 4.5), layout="constrained")
    for panel, name in zip(panels, names, strict=True):
        for row in (row for row in rows if row["source"] == name):
            points = [(n, e) for n, e in zip(row["nfes"], row["tv"], strict=True) if e]
            if points:
                panel.plot(
                    *zip(*points, strict=True), marker="o", markersize=3, label=row["arm"], **_look(row)
                )
        panel.set(title=name, xscale="log", yscale="log", xlabel="NFE", ylabel="TV to the exact law")
        panel.grid(visible=True, which="both", alpha=0.25)
    shown = {
        label: line
        for panel in panels
        for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(shown.values(), shown.keys(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _look(row: Mapping[str, Any]) -> dict[str, Any]:
    """An arm has one colour in all panels; ours is black and bold."""
    if row["arm"] == "ours":
        return {"color": "black", "linewidth": 3.0, "zorder": 10}
    return {"color": f"C{list(ARMS).index(row['arm']) % 10}", "linewidth": 1.2}
