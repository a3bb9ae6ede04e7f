"""A page of small plots, one a panel's query: what Grafana would show, without Grafana."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.observability.coverage import Asked

COLUMNS = 6
_MAX_NAMED = 6
_REASON_WIDTH = 40


def draw(asked: Sequence[Asked], path: Path, title: str) -> None:
    """Write the page as a PNG: answers of the dashboards, in their order."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [one for one in asked if one.where.startswith("Rheostat")]
    rows = math.ceil(len(shown) / COLUMNS)
    figure, panels = plt.subplots(
        rows, COLUMNS, figsize=(4 * COLUMNS, 2.3 * rows), layout="constrained", squeeze=False
    )
    figure.suptitle(f"{title}; seconds since the start", fontsize=13)
    for panel, one in zip(panels.flat, shown, strict=False):
        _small(panel, one)
    for panel in list(panels.flat)[len(shown) :]:
        panel.axis("off")
    figure.savefig(path, dpi=72)
    plt.close(figure)


def _small(panel: Any, one: Asked) -> None:
    board = one.where.rpartition("/ ")[2]
    name = one.name.replace("{{", "").replace("}}", "")
    panel.set_title(f"{board} · {name} [{one.unit}]", fontsize=8, loc="left", wrap=True)
    panel.tick_params(labelsize=7)
    panel.grid(visible=True, alpha=0.25)
    for number, (labels, points) in enumerate(one.series.items()):
        named = labels if number < _MAX_NAMED else None
        panel.plot(*zip(*points, strict=True), linewidth=1, label=named)
    if one.series:
        panel.legend(fontsize=6, loc="upper left", framealpha=0.6)
    if one.answer != "data":
        panel.text(
            0.5,
            0.4,
            "\n".join(textwrap.wrap(f"{one.answer}: {one.reason}", _REASON_WIDTH)),
            fontsize=7,
            color="grey",
            ha="center",
            va="center",
            transform=panel.transAxes,
        )
