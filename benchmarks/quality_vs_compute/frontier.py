"""What rivals reach at a share of compute where none of their settings stands."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.quality_vs_compute.tune import Row, front

_LEAST_DISTANCE = 1e-9  # a logarithm wants more than 0


def interpolated(rows: Sequence[Row], share: float) -> float | None:
    """Distance of the rows' Pareto front at a share: linear in the share, logarithmic in the distance.

    Beyond the front's last point the distance stays: who has compute left need not spend it.

    Args:
        rows: `share` and `mean` distance of each setting.

    Returns:
        None below the front's first point: no setting is as cheap.
    """
    points = front(rows)
    if not points or share < points[0]["share"]:
        return None
    below = max((row for row in points if row["share"] <= share), key=lambda row: float(row["share"]))
    above = next((row for row in points if row["share"] > share), None)
    if above is None:
        return float(below["mean"])
    way = (share - below["share"]) / (above["share"] - below["share"])
    return math.exp((1 - way) * _log(below) + way * _log(above))


def least_share(rows: Sequence[Row]) -> float | None:
    """The cheapest setting's share; None of no rows."""
    return min((float(row["share"]) for row in rows), default=None)


def _log(row: Row) -> float:
    return math.log(max(float(row["mean"]), _LEAST_DISTANCE))
