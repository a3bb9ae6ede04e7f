"""Metric names, labels and buckets, so that gateways, workers and dashboards cannot disagree.

Names and labels are the contract's. No job id, key or prompt ever stands in a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
RISK = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 2.0, 5.0)
DISTANCE = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
RATIO = (0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class Metric:
    """One time series family. `buckets` only for histograms."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


JOBS = Metric("rheostat_jobs_total", "counter", "Jobs ended.", ("model", "status"))
STEPS = Metric("rheostat_steps_total", "counter", "Evaluations run.", ("model", "action"))
STEP_TFLOPS = Metric("rheostat_step_tflops_total", "counter", "TFLOPs of evaluations.", ("model", "action"))
BLOCKS = Metric("rheostat_blocks_total", "counter", "Block calls, by outcome.", ("model", "outcome"))
COMPUTE = Metric(
    "rheostat_compute_tflops_total", "counter", "TFLOPs of ended jobs, by kind.", ("model", "kind")
)
WASTED = Metric(
    "rheostat_wasted_tflops_total", "counter", "TFLOPs nobody is billed for.", ("model", "reason")
)
DEGRADED = Metric("rheostat_degraded_total", "counter", "Jobs granted less than asked.", ("model",))
SHED = Metric("rheostat_shed_total", "counter", "Requests refused under load.", ("reason",))
ATTEMPTS = Metric("rheostat_attempts_total", "counter", "Attempts after the first.", ("model", "reason"))
HTTP_REQUESTS = Metric("rheostat_http_requests_total", "counter", "HTTP answers.", ("route", "code"))

STEP_SECONDS = Metric(
    "rheostat_step_seconds", "histogram", "Seconds a row's step took.", ("model", "action"), SECONDS
)
REQUEST_SECONDS = Metric(
    "rheostat_request_seconds",
    "histogram",
    "Seconds from acceptance to the end.",
    ("model", "status"),
    SECONDS,
)
QUEUE_SECONDS = Metric(
    "rheostat_queue_seconds", "histogram", "Seconds from acceptance to start.", ("model",), SECONDS
)
STAGE_SECONDS = Metric(
    "rheostat_stage_seconds", "histogram", "Seconds by stage.", ("model", "stage"), SECONDS
)
BUDGET_SPENT = Metric("rheostat_budget_spent_ratio", "histogram", "Spent over granted.", ("model",), RATIO)
BATCH_ROWS = Metric("rheostat_batch_rows", "histogram", "Rows in a forward.", ("model",), ROWS)
CACHE_RISK = Metric(
    "rheostat_cache_risk", "histogram", "Risk an evaluation was decided by.", ("model",), RISK
)
COST_ERROR = Metric(
    "rheostat_cost_error_ratio", "histogram", "Measured over predicted seconds.", ("model",), RATIO
)
AUDIT_DISTANCE = Metric(
    "rheostat_audit_distance",
    "histogram",
    "Relative L2 distance of audited latents to a run at full compute.",
    ("model", "budget"),
    DISTANCE,
)
AUDIT_PIXEL_DISTANCE = Metric(
    "rheostat_audit_pixel_distance",
    "histogram",
    "Root mean square of the same in pixels, black to white being 1.",
    ("model", "budget"),
    DISTANCE,
)
DEADLINE_SLACK = Metric(
    "rheostat_deadline_slack_seconds", "histogram", "Deadline minus end; negative is late.", ("model",),
    (-60, -10, -1, 0, 1, 10, 60),
)  # fmt: skip

QUEUE_JOBS = Metric("rheostat_queue_jobs", "gauge", "Jobs waiting.", ("model",))
OUTSTANDING = Metric("rheostat_outstanding_tflops", "gauge", "TFLOPs queued and left of running.", ("model",))
OLDEST_JOB = Metric("rheostat_oldest_job_seconds", "gauge", "Age of the oldest waiting job.", ("model",))
MODEL_SPEED = Metric("rheostat_model_tflops_per_second", "gauge", "Catalog speed of a model.", ("model",))
DEAD_JOBS = Metric("rheostat_dead_jobs", "gauge", "Dead-lettered jobs.", ("model",))
REDIS_UP = Metric("rheostat_redis_up", "gauge", "1 if Redis answers.")
RUNNING_SAMPLES = Metric("rheostat_running_samples", "gauge", "Samples in flight.", ("model",))
WORKER_SPEED = Metric(
    "rheostat_worker_tflops_per_second", "gauge", "This worker's measured speed.", ("model",)
)
CONTROLLER_THRESHOLD = Metric(
    "rheostat_controller_threshold", "gauge", "What a risk was last held against.", ("model",)
)
WORKER_STATE = Metric("rheostat_worker_state", "gauge", "1 for the state the worker is in.", ("state",))

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
