"""The time series of one process: a registry of its own, so that two gateways can share a process.

Counters and histograms whose labels are known stand at zero before anything happens: a rate sees the first
event, and a query of a quiet system returns zero instead of nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from protocol.metrics import Metric

Family = Counter | Gauge | Histogram


class Page(NamedTuple):
    """What a scraper gets."""

    body: bytes
    content_type: str


class Series:
    """The families of one process and what was counted in them. Safe to use from several threads."""

    def __init__(self, owned: Iterable[Metric]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._owned = {metric.name: (metric, _family(metric, self.registry)) for metric in owned}
        self._expect({})

    def expect(self, model: str, budgets: Collection[str] = ()) -> None:
        """Bring the counters and histograms of a model to zero, unless they have counted already.

        Args:
            budgets: the model's calibrated points, as `protocol.metrics.budget_label` writes them.
        """
        self._expect({"model": (model,), "budget": tuple(budgets)})

    def record(self, name: str, value: float, labels: tuple[str, ...], trace_id: str | None = None) -> None:
        """Add `value` to a counter, observe it in a histogram, or set a gauge to it.

        Args:
            trace_id: kept as the exemplar of a counter or of the histogram's bucket.

        Raises:
            KeyError: no family of this name.
        """
        _, family = self._owned[name]
        child = family.labels(*labels) if labels else family
        exemplar = None if trace_id is None else {"trace_id": trace_id}
        if isinstance(child, Counter):
            child.inc(value, exemplar)
        elif isinstance(child, Gauge):
            child.set(value)
        else:
            child.observe(value, exemplar)

    def add(self, metric: Metric, value: float, *labels: str, trace_id: str | None = None) -> None:
        """`record`, by the metric itself."""
        self.record(metric.name, value, labels, trace_id)

    def clear(self, metric: Metric) -> None:
        """Forget all labels of a family: what it told is not known any more."""
        self._owned[metric.name][1].clear()

    def page(self, accept: str) -> Page:
        """All series: OpenMetrics, with exemplars, for who accepts it, else Prometheus' text."""
        encode, content_type = choose_encoder(accept)
        return Page(encode(self.registry), content_type)

    def _expect(self, known: dict[str, tuple[str, ...]]) -> None:
        for metric, family in self._owned.values():
            choices = [known.get(label) or metric.values.get(label, ()) for label in metric.labels]
            if metric.labels and metric.kind != "gauge":
                for labels in itertools.product(*choices):
                    family.labels(*labels)


def _family(metric: Metric, registry: CollectorRegistry) -> Family:
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(metric.name, metric.help, metric.labels, registry=registry)
