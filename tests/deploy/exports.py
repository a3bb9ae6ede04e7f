"""What gateways and workers really export, read from their own registries."""

from __future__ import annotations

import os

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deploy.observability.objectives import Objectives
from deploy.observability.rules import recording_rules
from protocol import metrics
from protocol.series import Series
from workers.metrics import WorkerMetrics

TARGET = {"job", "instance"}
"""What Prometheus adds to whatever it scrapes."""


def exported() -> dict[str, set[str]]:
    """Name -> labels, of every sample on a page of either process and of Prometheus' own."""
    found = {"up": set(TARGET)}
    for exporter in ("gateway", "worker"):
        series = Series(metrics.owned_by(exporter))
        for metric in metrics.owned_by(exporter):
            series.add(metric, 1, *("x" for _ in metric.labels))
        found |= _labels(series.page("").body.decode())
    return found | _labels(generate_latest(WorkerMetrics(os.getpid).registry).decode())


def with_rules() -> dict[str, set[str]]:
    """The same and what recording rules make of it: a record's name begins with its labels."""
    rules = [rule for group in recording_rules(Objectives()) for rule in group.rules]
    return exported() | {rule.record: set(rule.record.partition(":")[0].split("_")) for rule in rules}


def _labels(page: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set(TARGET)).update(sample.labels)
    return found
