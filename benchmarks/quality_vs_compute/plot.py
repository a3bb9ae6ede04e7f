"""Distance over compute: share of FLOPs on the left, wall clock on the right; a line a method, ours bold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality_vs_compute.arms import FIXED, OURS

_STYLES = {
    "ours": ("-", "o", "tab10"),
    "rival": ("-", "s", "tab20"),
    "diffusers": ("--", "^", "Dark2"),
    "cache-dit": (":", "D", "Set1"),
}
_AXES = (("spent", "FLOPs of the denoiser / unabridged"), ("time", "seconds of denoising / unabridged"))
_COLOURS = {OURS: "black", FIXED: "grey", "static": "darkred"}
_WIDTHS = {OURS: 3.5, FIXED: 2.4, "static": 2.4}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the figure.

    Args:
        rows: as `report.rows` makes them; those at distance 0 have no place on a logarithmic axis.
        path: of the PNG.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(16, 7.5), sharey=True, layout="constrained")
    for panel, (key, label) in zip(panels, _AXES, strict=True):
        for name, points in lines(rows, key).items():
            panel.plot(*zip(*points, strict=True), label=name, **_look(name, rows))
        panel.set(xlabel=label, yscale="log")
        panel.grid(visible=True, which="both", alpha=0.25)
    panels[0].set_ylabel("latent relative L2 to the unabridged run, mean")
    handles, names = panels[0].get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside right upper", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def lines(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[tuple[float, float]]]:
    """By line, ours first: (share or time, mean distance), rising."""
    shown = [row for row in rows if row["group"] in _STYLES and row.get("mean") and row[key] is not None]
    names = sorted({row["line"] for row in shown}, key=lambda name: (_place(name, shown), name))
    return {name: sorted((row[key], row["mean"]) for row in shown if row["line"] == name) for name in names}


def _place(name: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """Ours, then the path without adaptivity and our other methods, then the released ones."""
    return -1 if name == OURS else [*_STYLES].index(_group(name, rows))


def _group(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return str(next(row["group"] for row in rows if row["line"] == name))


def _look(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    import matplotlib as mpl

    group = _group(name, rows)
    style, marker, palette = _STYLES[group]
    siblings = sorted({row["line"] for row in rows if row["group"] == group})
    colours = mpl.colormaps[palette].colors  # type: ignore[attr-defined]
    colour = _COLOURS.get(name, colours[siblings.index(name) % len(colours)])
    return {
        "linestyle": style,
        "marker": marker,
        "color": colour,
        "linewidth": _WIDTHS.get(name, 1.2),
        "markersize": 8 if name == OURS else 4,
        "zorder": 10 if name == OURS else 2,
    }
