"""The page of all metrics, from the code that exports them."""

from __future__ import annotations

from protocol.metrics import ALL, Metric

_INTRO = """# Metrics

Made by `python -m deploy.observability` from `protocol/metrics.py`; do not edit.

Gateways export at `/metrics`, workers at their `metrics_port`: one process, one registry, one port, so more
gateways are more targets. Who asks for OpenMetrics gets it, with trace ids as exemplars of traced jobs.
Gauges of gateways say the same at each gateway: read them with `max by (model)`. Counters and histograms of a
model stand at zero from the moment it is served; what is not built yet stays there.

`model` is a name of the catalog, else `unknown`; `budget` the calibrated point next to the job's; `route` is
a template such as `/v1/generations/{job_id}`. No job id, key or prompt is ever in a label.

Every evaluation that was run stands in a receipt or is wasted: `rheostat_step_tflops_total` is the sum of the
receipts' `tflops` and `rheostat_wasted_tflops_total`. Beside what is listed, each process has the client
library's `process_*`, and a worker the same of its engine process as `rheostat_engine_process_*`.
"""
_HEADS = {"counter": "Counters", "histogram": "Histograms", "gauge": "Gauges"}


def reference() -> str:
    """docs/metrics.md."""
    parts = [_INTRO]
    for kind, head in _HEADS.items():
        rows = [_row(metric) for metric in sorted(ALL, key=lambda metric: metric.name) if metric.kind == kind]
        parts.append(
            "\n".join([f"## {head}\n", "| name | labels | from | meaning |", "|---|---|---|---|", *rows, ""])
        )
    parts.append("\n".join(["## Buckets\n", *(_buckets(metric) for metric in ALL if metric.buckets), ""]))
    return "\n".join(parts)


def _row(metric: Metric) -> str:
    labels = "<br>".join(_label(metric, label) for label in metric.labels) or "none"
    return f"| `{metric.name}` | {labels} | {', '.join(metric.exporters)} | {metric.help} |"


def _label(metric: Metric, label: str) -> str:
    values = metric.values.get(label)
    return f"`{label}`" if values is None else f"`{label}`: {', '.join(values)}"


def _buckets(metric: Metric) -> str:
    return f"- `{metric.name}`: {', '.join(f'{bound:g}' for bound in metric.buckets)}"
