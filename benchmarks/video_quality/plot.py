"""What is kept over compute: all right, and distance; a line a method, PARE's bold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.video_quality.arms import PARE
from benchmarks.video_quality.report import KEPT_FIGURES

_STYLES = {"ours": ("-", "o"), "rival": ("--", "s"), "cache-dit": (":", "D")}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the figure: one panel a figure that must be kept, and one of the latents' distance.

    Args:
        rows: as `report.rows` makes them; only those on all kinds of captions are shown.
        path: of the PNG.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 4, figsize=(22, 6), sharex=True, layout="constrained")
    for panel, key in zip(panels, (*KEPT_FIGURES, "latent"), strict=True):
        for name, points in lines(rows, key).items():
            panel.plot(*zip(*points, strict=True), label=name, **_look(name, rows))
        teacher = next((row.get(key) for row in rows if row["arm"] == "full"), None)
        if teacher is not None:
            panel.axhline(teacher, color="grey", linewidth=0.8)
        panel.set(xlabel="FLOPs of the denoiser / unabridged", title=key)
        panel.grid(visible=True, alpha=0.25)
    handles, names = panels[0].get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside right upper", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def lines(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[tuple[float, float]]]:
    """By line: (share, figure), rising; the distance's mean where the figure is the distance."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        value = row.get(key)
        if row["group"] in _STYLES and row["captions"] == "all" and value is not None:
            estimate = value["estimate"] if isinstance(value, Mapping) else value
            found.setdefault(row["line"], []).append((row["share"], estimate))
    return {name: sorted(points) for name, points in found.items()}


def _look(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    style, marker = _STYLES[next(row["group"] for row in rows if row["line"] == name)]
    bold = {"linewidth": 3.0, "color": "black", "zorder": 10} if name == PARE else {"linewidth": 1.2}
    return {"linestyle": style, "marker": marker, "markersize": 5, **bold}
