"""KID, object and colour against training steps: a line a target with its range over seeds, and controls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.jlt.report import FIGURES, TARGETS, is_control

_COLOURS = {"x0": "tab:blue", "flow": "tab:red"}
_TITLES = {"kid": "KID", "object": "object read right", "background": "colour read right"}
_CONTROLS = {"whitened": ("--", "s"), "skip": (":", "^")}


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write the figure; `report` as the benchmark's JSON has it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for panel, name in zip(panels, FIGURES, strict=True):
        for target in TARGETS:
            _pairs(panel, report, name, target)
            for control in _CONTROLS:
                _control(panel, report, name, target, control)
        panel.axhline(report["floor"][name], color="grey", linewidth=1, label="reconstructions")
        panel.set(title=_TITLES[name], xlabel="training steps")
        panel.grid(visible=True, alpha=0.25)
    panels[0].set_yscale("symlog", linthresh=1e-3)
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _pairs(panel: Any, report: Mapping[str, Any], name: str, target: str) -> None:
    points = [point for point in report["curves"] if point["target"] == target]
    steps = [point["step"] for point in points]
    means, least, most = ([point[name][which] for point in points] for which in ("mean", "least", "most"))
    panel.plot(steps, means, color=_COLOURS[target], marker="o", label=target)
    panel.fill_between(steps, least, most, color=_COLOURS[target], alpha=0.2)


def _control(panel: Any, report: Mapping[str, Any], name: str, target: str, control: str) -> None:
    guidance = report["settings"]["sampling"]["guidance"]
    rows = [
        row
        for row in report["rows"]
        if (row["target"], row["guidance"]) == (target, guidance) and is_control(row, control)
    ]
    line, marker = _CONTROLS[control]
    points = sorted((row["step"], row[name]) for row in rows)
    label = f"{target}, {control}"
    panel.plot(*zip(*points, strict=True), line, color=_COLOURS[target], marker=marker, label=label)
