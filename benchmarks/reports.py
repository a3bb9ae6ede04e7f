"""What every benchmark tells beside its figures, and where it writes them."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def cpu_name() -> str:
    """The processor and how many of its cores there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()


def machine() -> str:
    """What the figures were taken on."""
    return f"{cpu_name()}, Python {platform.python_version()}, torch {torch.__version__}"


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """The median of ratios taken in pairs, and their range."""
    numbers = {"ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios)}
    return {name: round(number, 4) for name, number in numbers.items()}


def spread_cell(row: dict[str, Any]) -> str:
    """What `spread` found, for a table."""
    return f"{row['ratio']:.3f} ({row['ratio_least']:.3f} to {row['ratio_most']:.3f})"


def publish(report: dict[str, Any], markdown: str, folder: Path | None) -> None:
    """Write `<benchmark>.json` and `.md` into the folder, if there is one; print both, JSON last."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{report['benchmark']}.json").write_text(json.dumps(report, indent=2) + "\n")
        (folder / f"{report['benchmark']}.md").write_text(markdown)
    print(markdown)
    print(json.dumps(report))
