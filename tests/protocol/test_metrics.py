from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from protocol import metrics
from protocol.metrics import ALL, Metric

CONTRACT = {
    "rheostat_jobs_total": "model,status",
    "rheostat_steps_total": "model,action",
    "rheostat_step_tflops_total": "model,action",
    "rheostat_blocks_total": "model,outcome",
    "rheostat_compute_tflops_total": "model,kind",
    "rheostat_wasted_tflops_total": "model,reason",
    "rheostat_degraded_total": "model",
    "rheostat_shed_total": "reason",
    "rheostat_attempts_total": "model,reason",
    "rheostat_http_requests_total": "route,code",
    "rheostat_step_seconds": "model,action",
    "rheostat_request_seconds": "model,status",
    "rheostat_queue_seconds": "model",
    "rheostat_stage_seconds": "model,stage",
    "rheostat_budget_spent_ratio": "model",
    "rheostat_batch_rows": "model",
    "rheostat_cache_risk": "model",
    "rheostat_controller_threshold": "model",
    "rheostat_deadline_slack_seconds": "model",
    "rheostat_cost_error_ratio": "model",
    "rheostat_audit_distance": "model,budget",
    "rheostat_queue_jobs": "model",
    "rheostat_outstanding_tflops": "model",
    "rheostat_oldest_job_seconds": "model",
    "rheostat_model_tflops_per_second": "model",
    "rheostat_dead_jobs": "model",
    "rheostat_redis_up": "",
    "rheostat_running_samples": "model",
    "rheostat_worker_tflops_per_second": "model",
    "rheostat_worker_state": "state",
}
"""Names and labels that dashboards rely on, as the contract gives them; others may be added."""

LABELS = {
    "model",
    "status",
    "action",
    "outcome",
    "kind",
    "reason",
    "route",
    "code",
    "stage",
    "state",
    "budget",
}
"""All that may stand in a label: each from a small closed set. No job, key or prompt."""


def test_the_contract_s_names_and_labels() -> None:
    declared = {metric.name: ",".join(metric.labels) for metric in ALL}

    assert CONTRACT.items() <= declared.items()


def test_names_are_unique_and_all_are_listed() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL)
    assert set(ALL) == {value for value in vars(metrics).values() if isinstance(value, Metric)}


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_each_is_well_formed(metric: Metric) -> None:
    assert metric.name.startswith("rheostat_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help.endswith(".")
    assert set(metric.labels) <= LABELS
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_prometheus_takes_them_all_in_one_registry() -> None:
    registry = CollectorRegistry()
    for metric in ALL:
        if metric.kind == "histogram":
            Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)
        else:
            (Counter if metric.kind == "counter" else Gauge)(
                metric.name, metric.help, metric.labels, registry=registry
            )

    page = generate_latest(registry).decode()

    assert all(f"# HELP {metric.name} {metric.help}" in page for metric in ALL)
