"""What every expression of every panel, rule and alert returned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from benchmarks.observability.prometheus import Prometheus
from deploy.observability.__main__ import BOARDS
from deploy.observability.alerts import alerts
from deploy.observability.objectives import Objectives
from deploy.observability.panels import all_queries
from deploy.observability.rules import recording_rules


@dataclass(frozen=True)
class Asked:
    """One expression and what came of it; `series` by their labels, finite values only."""

    where: str
    name: str
    expr: str
    unit: str
    reason: str
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """`data`, `zero` (nothing but zeros) or `nothing`."""
        values = [value for points in self.series.values() for _, value in points]
        return "nothing" if not values else "data" if any(values) else "zero"

    @property
    def accounted_for(self) -> bool:
        return self.answer == "data" or bool(self.reason)

    def line(self) -> dict[str, Any]:
        """For the report, with the reason only where one is needed."""
        told = {"where": self.where, "name": self.name, "expr": self.expr, "answer": self.answer}
        return {**told, "series": len(self.series), "reason": "" if self.answer == "data" else self.reason}


def ask_all(prometheus: Prometheus, start: float, end: float, step_s: float, window: str) -> list[Asked]:
    """Ask for everything over the whole time.

    Args:
        window: what Grafana would fill in for its rate interval.
    """
    return [
        Asked(
            one.where,
            one.name,
            one.expr,
            one.unit,
            one.reason,
            _points(prometheus, one.expr, start, end, step_s),
        )
        for one in _everything(window)
    ]


def _everything(window: str) -> list[Asked]:
    objectives = Objectives()
    panels = [
        Asked(board.title, f"{panel.title}: {query.legend}", query.filled(window), panel.unit, query.zero)
        for board, panel, query in all_queries(BOARDS)
    ]
    rules = [
        Asked("rules", rule.record, rule.expr, "", rule.zero)
        for group in recording_rules(objectives)
        for rule in group.rules
    ]
    return panels + rules + [Asked("alerts", one.name, one.expr, "", one.zero) for one in alerts(objectives)]


def _points(
    prometheus: Prometheus, expr: str, start: float, end: float, step_s: float
) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for series in prometheus.range(expr, start, end, step_s):
        labels = ", ".join(
            value for label, value in sorted(series["metric"].items()) if label not in ("__name__", "job")
        )
        points = [(moment - start, float(text)) for moment, text in series["values"]]
        finite = [(moment, value) for moment, value in points if math.isfinite(value)]
        if finite:
            found[labels or series["metric"].get("job", "all")] = finite
    return found
